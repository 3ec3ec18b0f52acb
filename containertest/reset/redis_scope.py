"""What a reset of Redis brings back: the whole server, or one logical database of it."""

from __future__ import annotations

import abc
from typing import Any

import redis

from .redis_clients import Clients
from .redis_keys import Keys
from .redis_shared import SharedClient
from .redis_wire import Command, Wire


class Scope(abc.ABC):
    """The present baseline, at first without keys, and how to bring it back."""

    def __init__(self, client: redis.Redis, wire: Wire) -> None:
        self.wire = wire
        self.shared = SharedClient(client)
        self.look = self.shared.look()
        self.clients = Clients(client)
        self.home = int(client.connection_pool.connection_kwargs.get("db") or 0)
        self.keys = Keys(self.home)
        #: What `restore` takes for its own, of each level.
        self.levels: list[Any] = []

    @abc.abstractmethod
    def first(self) -> list[Command]:
        """Return what `reset` sends first."""

    @abc.abstractmethod
    def reset(self) -> None:
        """Bring back the present baseline."""

    @abc.abstractmethod
    def push(self, number: int) -> None:
        """Make what is there now the level ``number``, all of it or nothing: reading it may be interrupted."""

    @abc.abstractmethod
    def restore(self) -> None:
        """Bring back the highest level, whatever the server has been through."""

    def pop(self, depth: int) -> None:
        """Forget the levels above ``depth``, and bring back what is left."""
        if len(self.levels) > depth + 1:
            del self.levels[depth + 1 :]
            self.restore()
