"""The connections of a Redis server: which are in a state that a test left them in."""

from __future__ import annotations

from typing import Any

import redis

from .redis_wire import Command, plain_settings

_NUMBERS = {b"multi": b"-1", b"sub": b"0", b"psub": b"0", b"ssub": b"0", b"watch": b"0"}


class Clients:
    """Finds connections that subscribed, opened MULTI, wait for a key, took another database, name, user or protocol.

    CLIENT LIST doesn't say whose connection is whose. So the shared client's are all closed when one is found,
    to be opened anew with the client's settings; those that are still there after that are of others.
    """

    def __init__(self, client: redis.Redis) -> None:
        settings = client.connection_pool.connection_kwargs
        self._usual = {
            b"db": str(settings.get("db") or 0).encode(),
            b"name": str(settings.get("client_name") or "").encode(),
        }
        protocol = getattr(client.connection_pool.connection_class(**plain_settings(client)), "protocol", None)
        if protocol:
            self._usual[b"resp"] = str(protocol).encode()
        if not settings.get("credential_provider"):
            self._usual[b"user"] = str(settings.get("username") or "default").encode()
        self._known: set[bytes] = set()

    def know(self, listing: Any) -> None:
        """Take the connections that are there now, none of them the shared client's, as they are."""
        self._known = {client[b"id"] for client in _clients(listing)}

    def odd(self, listing: Any) -> list[dict[bytes, bytes]]:
        """Return the connections in a state of their own that were not seen in it before."""
        odd = [client for client in _clients(listing) if client[b"id"] not in self._known and self._is_odd(client)]
        self._known.update(client[b"id"] for client in odd)
        return odd

    def _is_odd(self, client: dict[bytes, bytes]) -> bool:
        if _has_flags(client, b"NU") or _is_within(client):
            return True
        return any(client.get(name, usual) != usual for name, usual in self._usual.items())


def is_busy(client: dict[bytes, bytes]) -> bool:
    """Whether the connection listens, waits, or holds a transaction: what it does next a test would notice."""
    return _has_flags(client, b"NUeT") or _is_within(client)


def _has_flags(client: dict[bytes, bytes], but: bytes) -> bool:
    """N: none, U: Unix socket, e: CLIENT NO-EVICT, T: CLIENT NO-TOUCH."""
    return bool(client.get(b"flags", b"N").strip(but))


def _is_within(client: dict[bytes, bytes]) -> bool:
    return any(client.get(name, idle) != idle for name, idle in _NUMBERS.items())


def kill(clients: list[dict[bytes, bytes]]) -> list[Command]:
    """Return the commands that end those connections of a server of ours that are busy."""
    return [("CLIENT", "KILL", "ID", client[b"id"]) for client in clients if is_busy(client)]


def _clients(listing: Any) -> list[dict[bytes, bytes]]:
    lines = listing.splitlines() if isinstance(listing, bytes) else []
    return [dict(word.partition(b"=")[::2] for word in line.split()) for line in lines]
