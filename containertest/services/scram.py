"""PostgreSQL's password verifiers; see RFC 5802."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

__all__ = ["verifier"]


def verifier(password: str) -> str:
    """What PostgreSQL keeps of an ASCII password, made with one round of hashing instead of its 4,096.

    Those take half the time of each connection that a test opens; they protect a password that can be guessed, once
    somebody has read the server's files, and the one of a run is random. Source: the manual of ``pg_authid``, RFC 5802.
    """
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, iterations=1)
    client, server = (hmac.digest(salted, name, "sha256") for name in (b"Client Key", b"Server Key"))
    parts = (base64.b64encode(part).decode() for part in (salt, hashlib.sha256(client).digest(), server))
    return "SCRAM-SHA-256$1:{}${}:{}".format(*parts)
