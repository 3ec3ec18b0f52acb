"""Bring one logical database of a Redis that is not ours back to its baseline."""

from __future__ import annotations

from typing import Any

import redis

from .redis_commands import HIDDEN, changed, parse_calls
from .redis_keys import check, read_keys
from .redis_scope import Scope
from .redis_wire import CALLS, LIST, Command, Wire


class OneDatabase(Scope):
    """Empties and fills the logical database of ``client``, and touches nothing else of its server."""

    def __init__(self, client: redis.Redis, wire: Wire) -> None:
        super().__init__(client, wire)
        self.levels = [(self.keys, self.look)]
        self.calls: dict[str, int] = {}

    def first(self) -> list[Command]:
        return [CALLS, LIST, ("FLUSHDB",), *self.keys.commands()]

    def reset(self) -> None:
        self.shared.undo(self.look)
        commands = self.first()
        calls, listing, *replies = self.wire.send(commands)
        check(commands[2:], replies)
        if self.clients.odd(listing) or self.hidden(calls) or isinstance(listing, Exception):
            self.shared.disconnect()

    def hidden(self, calls: Any) -> bool:
        """Whether a connection may be in a state that isn't listed; where one may not look, it may."""
        if isinstance(calls, Exception):
            return True
        before, self.calls = self.calls, parse_calls(calls)
        return HIDDEN in changed(before, self.calls)

    def push(self, number: int) -> None:
        look = self.shared.look()
        self.keys, self.look = read_keys(self.wire, self.home, all_databases=False), look
        self.levels[number:] = [(self.keys, self.look)]
        self.shared.disconnect()

    def restore(self) -> None:
        self.keys, self.look = self.levels[-1]
        self.reset()
