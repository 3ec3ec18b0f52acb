"""Bring a Redis server, or one leased database of it, back to its baseline between tests."""

from __future__ import annotations

from collections import Counter
from typing import Any

import redis

from ..errors import ResetError
from ..wait import poll
from .redis_clients import kill
from .redis_commands import (
    ACL,
    CONFIG,
    DATA,
    DEBUG,
    EVERYTHING,
    HIDDEN,
    SAVING,
    SCRIPTS,
    changed,
    own_calls,
    parse_calls,
)
from .redis_database import OneDatabase
from .redis_keys import check, checked, read_keys
from .redis_scope import Scope
from .redis_settings import Settings, read_settings, repair, rights
from .redis_wire import CALLS, LIST, Command, Wire

_ROUNDS = 5
#: Seconds that a script may take to end when it is told to, and a process that saves the data.
_PATIENCE = 1.0


class RedisReset:
    """The reset of one Redis.

    The baseline is at first without keys, with the settings, users and functions that the server has when this
    is made, or with those of ``first``: the `first_settings` of a process that has died, and may have left its
    server in any state. ``whole_server=False`` is for a server that is not ours: only the logical database of
    ``client`` is emptied and filled, and nothing else of the server is touched.

    ``timeout`` is how many seconds one answer may take. Every method, the making of the object too, raises
    ResetError when the baseline can't be brought back; BeyondRepair when only a new server can bring it. The
    connections of ``client`` are closed when a test left one of them in a state of its own; the client stays usable,
    and is itself brought back (`SharedClient`).
    """

    def __init__(
        self, client: redis.Redis, *, whole_server: bool = True, timeout: float = 10.0, first: str = ""
    ) -> None:
        wire = Wire(client, timeout)
        self._scope: Scope = _WholeServer(client, wire, first) if whole_server else OneDatabase(client, wire)

    @property
    def first_settings(self) -> str:
        """The settings, users and functions of the first baseline; "" where only a database is ours."""
        return self._scope.first_settings.to_json() if isinstance(self._scope, _WholeServer) else ""

    def begin(self) -> None:
        """Send what ``reset()`` sends first, for Redis to work on while its caller does something else."""
        self._scope.wire.post(self._scope.first())

    def reset(self) -> None:
        """Bring back the baseline: in one round trip, unless the baseline has keys and a test wrote some."""
        self._scope.reset()

    def push(self, number: int) -> None:
        """Make what is there now the level ``number`` of the baseline: the highest there is, or one above it.

        Level 0 is what was there at first. Keys keep the time that they still have to live.
        """
        self._scope.push(number)

    def pop(self, depth: int) -> None:
        """Forget the levels above ``depth``, and bring back what is left."""
        self._scope.pop(depth)

    def restore(self) -> None:
        """Bring back the baseline, whatever the server has been through: nothing that is known of it counts."""
        self._scope.restore()

    def close(self) -> None:
        """Close the connection that resets use; the next reset opens another."""
        self._scope.wire.close()


class _WholeServer(Scope):
    def __init__(self, client: redis.Redis, wire: Wire, first: str = "") -> None:
        super().__init__(client, wire)
        self.settings = self.first_settings = Settings.from_json(first) if first else read_settings(wire)
        self.levels = [(self.keys, self.settings, self.look)]
        if first:
            wire.send(rights(self.settings))
        self.start()

    def start(self) -> None:
        """Take what is there now as the baseline's: connections, and how often each command was run."""
        self.shared.disconnect()
        calls, listing = checked(self.wire, [CALLS, LIST])
        self.clients.know(listing)
        self.calls = Counter(parse_calls(calls))
        self.connects = self.wire.connects

    def push(self, number: int) -> None:
        look = self.shared.look()
        keys = read_keys(self.wire, self.home, all_databases=True)
        self.keys, self.settings, self.look = keys, read_settings(self.wire), look
        self.levels[number:] = [(self.keys, self.settings, self.look)]
        self.start()

    def restore(self) -> None:
        self.keys, self.settings, self.look = self.levels[-1]
        self.reset()
        self.repair(EVERYTHING)

    def first(self) -> list[Command]:
        # Right whatever has changed, and cheap: so it is sent along with the question what has.
        write: list[Command] = self.keys.expiring if self.keys else [("FLUSHALL",)]
        return [("CLIENT", "UNPAUSE"), CALLS, LIST, *write]

    def reset(self) -> None:
        self.shared.undo(self.look)
        commands = self.first()
        write = commands[3:]
        answers = self.wire.send(commands)
        if _runs_a_script(answers):
            answers = self._interrupted(commands)
        if any(isinstance(answer, redis.ResponseError) for answer in answers[1:3]):
            self.wire.send(rights(self.settings))
            answers = self.wire.send(commands)
        _, calls, listing, *replies = answers
        check([CALLS, LIST], [calls, listing])
        now = parse_calls(calls)
        groups = self.groups(now, replies)
        odd = self.clients.odd(listing)
        if odd or HIDDEN in groups:
            self.shared.disconnect()
        expected = Counter(now)
        expected.update(own_calls(write, self.calls))
        left = groups - {HIDDEN} - (set() if self.keys else {DATA})
        self.calls = expected
        if kills := kill(odd):
            self.wire.send(kills)
        if left:
            self.repair(frozenset(left))

    def _interrupted(self, commands: list[Command]) -> list[Any]:
        """The answers when a script that a test left running is ended; one that has written something can't be."""
        answers: list[Any] = []

        def free() -> bool:
            self.wire.send([("SCRIPT", "KILL"), ("FUNCTION", "KILL")])
            answers[:] = self.wire.send(commands)
            return not _runs_a_script(answers)

        poll(free, _PATIENCE)
        return answers

    def groups(self, now: dict[str, int], replies: list[Any]) -> frozenset[str]:
        if self.wire.connects != self.connects or any(isinstance(reply, Exception) for reply in replies):
            self.connects = self.wire.connects
            return EVERYTHING
        return changed(self.calls, now)

    def repair(self, groups: frozenset[str]) -> None:
        """Bring back the groups, and what others changed meanwhile, until nobody changes anything."""
        may_save = False
        for _ in range(_ROUNDS):
            looks = groups - {DATA} if self.settings.scripts else groups - {DATA, SCRIPTS}
            # Without its rights it could not even look.
            first = rights(self.settings) if ACL in groups else []
            queries = [*first, *self.settings.queries()] if looks else []
            now = read_settings(self.wire, first) if looks else self.settings
            commands = repair(self.settings, now, groups)
            if DATA in groups:
                commands += [("FLUSHALL",), *self.keys.commands()]
            *replies, after = self.wire.send([*commands, CALLS])
            check(commands, replies)
            done = [one for one, reply in zip(commands, replies, strict=True) if not isinstance(reply, Exception)]
            calls = Counter(parse_calls(after))
            own = own_calls([*queries, *done], calls)
            if DEBUG in groups:  # counted also when it does not know what it is told
                own["debug"] = calls["debug"] - self.calls["debug"]
            may_save = may_save or not groups.isdisjoint((CONFIG, SAVING))
            groups = changed(self.calls + own, calls)
            self.calls = calls
            if not groups:
                if may_save:
                    poll(self._saves_nothing, _PATIENCE)
                return
        raise ResetError(
            "Something keeps changing Redis while it is reset: a thread or process that a test left running?"
        )

    def _saves_nothing(self) -> bool:
        return b"_in_progress:1" not in self.wire.send([("INFO", "persistence")])[0]


def _runs_a_script(answers: list[Any]) -> bool:
    return isinstance(answers[1], Exception) and str(answers[1]).startswith("BUSY")
