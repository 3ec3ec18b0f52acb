"""A cache in Redis whose values are anything that JSON can hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from redis import Redis, WatchError

__all__ = ["KeyNotFound", "RedisCache"]


class KeyNotFound(LookupError):
    """The key is not in the cache, or no longer."""


class RedisCache:
    """JSON values under string keys. Every method may raise ``redis.RedisError``.

    :param client: a connected client.
    :param prefix: put before every key, so that several users of one Redis don't meet.
    """

    def __init__(self, client: Redis, prefix: str = "") -> None:
        self._client = client
        self._prefix = prefix

    def set(self, key: str, value: Any, expiry: float | None = None) -> None:
        """Store ``value``, for ``expiry`` seconds or for good.

        :raises TypeError: when JSON can't hold it.
        :raises ValueError: when ``expiry`` is not above 0.
        """
        self._client.set(self._name(key), json.dumps(value), px=_milliseconds(expiry))

    def get(self, key: str) -> Any:
        """Return the value, which may be None. :raises KeyNotFound: when there is none."""
        text = self._client.get(self._name(key))
        if text is None:
            raise KeyNotFound(key)
        return json.loads(text)

    def delete(self, key: str) -> bool:
        """Remove the key; return whether it was there."""
        return bool(self._client.delete(self._name(key)))

    def exists(self, key: str) -> bool:
        """Return whether the key is there."""
        return bool(self._client.exists(self._name(key)))

    def fill(self, key: str, load: Callable[[], Any], expiry: float | None = None) -> Any:
        """Return ``load()`` and store it, unless somebody calls `invalidate` in the meantime.

        Without that condition, a value read just before a change could be stored just after the change had
        removed the old one, and stay until it expires.
        """
        with self._client.pipeline() as pipe:
            pipe.watch(self._name(key))  # type: ignore[no-untyped-call]
            value = load()
            pipe.multi()
            pipe.set(self._name(key), json.dumps(value), px=_milliseconds(expiry))
            with suppress(WatchError):
                pipe.execute()
        return value

    def invalidate(self, key: str) -> None:
        """Remove the key, and keep every `fill` of it that is under way from storing what it has read."""
        with self._client.pipeline() as pipe:
            # WATCH doesn't notice that a key which isn't there is deleted: so change it first.
            pipe.set(self._name(key), "null")
            pipe.delete(self._name(key))
            pipe.execute()

    def _name(self, key: str) -> str:
        return self._prefix + key


def _milliseconds(seconds: float | None) -> int | None:
    if seconds is None:
        return None
    if not seconds > 0:
        raise ValueError(f"a value can't expire after {seconds} s")
    return max(1, round(seconds * 1000))
