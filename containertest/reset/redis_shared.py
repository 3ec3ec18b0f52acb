"""The client object that tests share: brought back in place, since they and the code under test hold it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis

#: What of a pool tells how it makes connections; the rest is what it has at the moment.
_MAKING = ("connection_class", "max_connections")


@dataclass(frozen=True)
class Look:
    """Attributes of the client and of its pool, patched methods among them, reply callbacks, connection settings."""

    client: dict[str, Any]
    pool: dict[str, Any]
    callbacks: dict[Any, Any]
    settings: dict[str, Any]


class SharedClient:
    """Undoes what a test did to the client itself: ``set_response_callback``, ``set_retry``, a patched method, …"""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._pool = client.connection_pool
        #: How many attributes the pool has: a patched method is one more.
        self._size = len(vars(self._pool))

    def look(self) -> Look:
        """Return what the client is now; the pool's connections are no part of that."""
        client, pool = self._client, self._pool
        return Look(
            dict(vars(client)),
            {name: value for name, value in vars(pool).items() if name in _MAKING or _is_method(pool, name)},
            dict(client.response_callbacks),
            dict(pool.connection_kwargs),
        )

    def _is(self, wanted: Look) -> bool:
        """Whether `look` would say so: asked before each test, so without making copies of anything."""
        client, pool = self._client, self._pool
        return (
            pool.connection_class is wanted.pool["connection_class"]
            and pool.max_connections == wanted.pool["max_connections"]
            and len(vars(pool)) == self._size
            and vars(client) == wanted.client
            and pool.connection_kwargs == wanted.settings
            and client.response_callbacks == wanted.callbacks
        )

    def undo(self, wanted: Look) -> None:
        """Make the client what it was then; connections made meanwhile are closed if anything differs."""
        if self._is(wanted):
            return
        now = self.look()
        _bring_back(vars(self._client), now.client, wanted.client)
        _bring_back(vars(self._pool), now.pool, wanted.pool)
        _bring_back(self._client.response_callbacks, now.callbacks, wanted.callbacks)
        _bring_back(self._pool.connection_kwargs, now.settings, wanted.settings)
        self._size = len(vars(self._pool))
        self.disconnect()

    def disconnect(self) -> None:
        """Close and forget the connections; the next command opens one, as the client was made."""
        self._pool.disconnect()
        # Those that exist keep the settings they were made with, and take up room if a test holds them.
        self._pool.reset()
        if self._client.connection:  # of single_connection_client=True
            self._client.connection.disconnect()  # type: ignore[no-untyped-call]


def _is_method(pool: Any, name: str) -> bool:
    return callable(getattr(type(pool), name, None))


def _bring_back(live: dict[Any, Any], now: dict[Any, Any], wanted: dict[Any, Any]) -> None:
    for name in now.keys() - wanted.keys():
        del live[name]
    live.update(wanted)
