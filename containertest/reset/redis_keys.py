"""The keys of a baseline: read once, written back as often as needed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .redis_wire import Command, Refused, Wire

_BATCH = 1000
_KEYSPACE = re.compile(rb"^db(\d+):", re.MULTILINE)


@dataclass
class Keys:
    """Keys of the logical databases; all commands start and end with the database ``home`` selected."""

    home: int
    #: Of each database, the RESTORE commands. Their third word is the time to live in milliseconds, 0 for none.
    restores: dict[int, list[Command]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(self.restores.values())

    @cached_property
    def expiring(self) -> list[Command]:
        """The commands that write the keys with a time to live: time alone changes them."""
        return self._selected({db: [one for one in all_ if one[2]] for db, all_ in self.restores.items()})

    def commands(self) -> list[Command]:
        """Return the commands that write all keys, each with its whole time to live."""
        return self._selected(self.restores)

    def _selected(self, restores: dict[int, list[Command]]) -> list[Command]:
        commands: list[Command] = []
        for db, wanted in restores.items():
            if wanted:
                commands += [("SELECT", db), *wanted, ("SELECT", self.home)]
        return commands


def read_keys(wire: Wire, home: int, *, all_databases: bool) -> Keys:
    """Return the keys of the database ``home``, or of all, with the time that they still have to live."""
    databases = [home]
    if all_databases:
        (keyspace,) = checked(wire, [("INFO", "keyspace")])
        databases = [int(db) for db in _KEYSPACE.findall(keyspace)]
    return Keys(home, {db: _read(wire, home, db) for db in databases})


def _read(wire: Wire, home: int, db: int) -> list[Command]:
    names = list(_names(wire, home, db))
    restores: list[Command] = []
    for start in range(0, len(names), _BATCH):
        batch = names[start : start + _BATCH]
        reads: list[Command] = [command for name in batch for command in (("PTTL", name), ("DUMP", name))]
        _, *replies, _ = checked(wire, [("SELECT", db), *reads, ("SELECT", home)])
        for name, ttl, payload in zip(batch, replies[::2], replies[1::2], strict=True):
            if payload is not None:  # else it expired just now
                restores.append(("RESTORE", name, 0 if ttl == -1 else max(1, ttl), payload, "REPLACE"))
    return restores


def _names(wire: Wire, home: int, db: int) -> dict[bytes, None]:
    """Return the names of the keys; SCAN may return one twice."""
    names: dict[bytes, None] = {}
    cursor = b"0"
    while True:
        scan: Command = ("SCAN", cursor, "COUNT", _BATCH)
        _, (cursor, found), _ = checked(wire, [("SELECT", db), scan, ("SELECT", home)])
        names.update(dict.fromkeys(found))
        if cursor == b"0":
            return names


def checked(wire: Wire, commands: list[Command]) -> list[Any]:
    """Send the commands and return their replies. Raises Refused when one of them is an error."""
    replies = wire.send(commands)
    check(commands, replies)
    return replies


def check(commands: list[Command], replies: list[Any]) -> None:
    """Raise Refused for the first error among the replies; no value that was sent is in its text.

    A connection to end that is gone, and DEBUG where it is not allowed, are none.
    """
    for command, reply in zip(commands, replies, strict=True):
        if isinstance(reply, Exception) and command[0] != "DEBUG" and command[:2] != ("CLIENT", "KILL"):
            shown = command[: 3 if command[0] in ("CONFIG", "ACL") else 2]
            words = " ".join(word.decode(errors="replace") if isinstance(word, bytes) else str(word) for word in shown)
            raise Refused(f"Redis refused {words} while it was reset: {reply}") from reply
