"""Who is logged in: a Redis hash for each session, which goes by itself when it isn't used."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timezone

from redis import Redis

__all__ = ["Session", "SessionNotFound", "SessionStore"]


class SessionNotFound(LookupError):
    """The session has expired, was logged out or never was."""


@dataclass(frozen=True)
class Session:
    """What is known of a logged-in user."""

    user_id: int
    created_at: datetime


class SessionStore:
    """Sessions under ``session:<token>``. Every method may raise ``redis.RedisError``.

    :param client: a connected client.
    :param expiry: seconds after its last use that a session ends.
    """

    def __init__(self, client: Redis, expiry: int = 1800) -> None:
        self._client = client
        self._expiry = expiry

    def create(self, user_id: int) -> str:
        """Log a user in; return the token, which can't be guessed."""
        token = secrets.token_urlsafe(32)
        now = datetime.now(timezone.utc).isoformat()
        with self._client.pipeline() as pipe:  # both or neither: no session may last for ever
            pipe.hset(_key(token), mapping={"user_id": user_id, "created_at": now})
            pipe.expire(_key(token), self._expiry)
            pipe.execute()
        return token

    def get(self, token: str) -> Session:
        """Return the session and prolong it. :raises SessionNotFound: when there is none."""
        with self._client.pipeline() as pipe:
            pipe.hgetall(_key(token))
            pipe.expire(_key(token), self._expiry)
            stored, _ = pipe.execute()
        if not stored:
            raise SessionNotFound("not logged in, or no longer")
        fields = {_text(name): _text(value) for name, value in stored.items()}
        return Session(int(fields["user_id"]), datetime.fromisoformat(fields["created_at"]))

    def delete(self, token: str) -> None:
        """Log out. Nothing happens when the session is gone already."""
        self._client.delete(_key(token))


def _key(token: str) -> str:
    return f"session:{token}"


def _text(value: bytes | str) -> str:
    """A client made with ``decode_responses=True`` gives strings, any other bytes."""
    return value if isinstance(value, str) else value.decode()
