"""What a Redis server has beside its keys: settings, users, functions, cached scripts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from containertest import leaks

from .redis_commands import ACL, CONFIG, DEBUG, FUNCTIONS, SCRIPTS
from .redis_keys import check
from .redis_wire import Command, Wire

_SCRIPTS = re.compile(rb"^number_of_cached_scripts:(\d+)", re.MULTILINE)
_QUERIES: list[Command] = [
    ("CONFIG", "GET", "*"),
    ("ACL", "LIST"),
    ("FUNCTION", "DUMP"),
    ("INFO", "memory"),
    ("INFO", "replication"),
]
#: Not set by CONFIG SET, but by REPLICAOF.
_NOT_SET = (b"replicaof", b"slaveof")
#: What DEBUG switches, as a new server has it; no version has all of them.
_SWITCHES = (
    "SET-ACTIVE-EXPIRE 1",
    "PAUSE-CRON 0",
    "DICT-RESIZING 1",
    "SET-DISABLE-DENY-SCRIPTS 0",
    "QUICKLIST-PACKED-THRESHOLD 1073741824b",
)


@dataclass(frozen=True, repr=False)  # it has passwords
class Settings:
    """Settings and users as the server spells them; ``functions`` is None before Redis 7."""

    config: dict[bytes, bytes]
    users: tuple[bytes, ...]
    functions: bytes | None
    scripts: int
    replica: bool

    def to_json(self) -> str:
        """Spell all of it out, passwords too: another process can bring it back with `from_json`."""
        config = {_text(name): _text(value) for name, value in self.config.items()}
        functions = None if self.functions is None else _text(self.functions)
        return json.dumps([config, list(map(_text, self.users)), functions, self.scripts, self.replica])

    @classmethod
    def from_json(cls, text: str) -> Settings:
        config, users, functions, scripts, replica = json.loads(text)
        return cls(
            {name.encode("latin-1"): value.encode("latin-1") for name, value in config.items()},
            tuple(user.encode("latin-1") for user in users),
            None if functions is None else functions.encode("latin-1"),
            scripts,
            replica,
        )

    def queries(self) -> list[Command]:
        """Return the commands that ``read_settings`` runs on this server."""
        return [query for query in _QUERIES if query[0] != "FUNCTION" or self.functions is not None]


def _text(value: bytes) -> str:
    """Each byte as one character."""
    return value.decode("latin-1")


def read_settings(wire: Wire, first: Sequence[Command] = ()) -> Settings:
    """Return what the server has now, after the commands ``first``."""
    replies = wire.send([*first, *_QUERIES])[len(first) :]
    config, users, functions, memory, replication = replies
    if isinstance(functions, redis.ResponseError):
        functions = replies[2] = None
    check(_QUERIES, replies)
    cached = _SCRIPTS.search(memory)
    scripts = int(cached[1]) if cached else 0
    # "reset" adds sanitize-payload to the default user, which means the same as saying nothing.
    users = tuple(line.replace(b" sanitize-payload", b"") for line in users)
    return Settings(_pairs(config), users, functions, scripts, b"role:slave" in replication)


def rights(wanted: Settings) -> list[Command]:
    """Return the commands that give the baseline's users back what they may do: ours, too, is one of them."""
    return [("ACL", "SETUSER", name, "reset", *rules) for _, name, *rules in map(bytes.split, wanted.users)]


def repair(wanted: Settings, now: Settings, groups: Iterable[str]) -> list[Command]:
    """Return the commands that bring back those groups, in an order in which each of them is possible."""
    commands: list[Command] = [("REPLICAOF", "NO", "ONE")] if now.replica else []
    if DEBUG in groups:
        commands += [("DEBUG", *switch.split()) for switch in _SWITCHES]
    if CONFIG in groups:
        # With a lower threshold, the logs have what else would not be in them.
        commands += [*_config(wanted, now), ("SLOWLOG", "RESET"), ("LATENCY", "RESET")]
    if ACL in groups:
        commands += [*_users(wanted, now), ("ACL", "LOG", "RESET")]
    if FUNCTIONS in groups and wanted.functions is not None:
        commands.append(("FUNCTION", "RESTORE", wanted.functions, "FLUSH"))
    if SCRIPTS in groups:
        commands += _scripts(wanted, now)
    return commands


def _config(wanted: Settings, now: Settings) -> list[Command]:
    return [
        ("CONFIG", "SET", name, value)
        for name, value in wanted.config.items()
        if now.config.get(name, value) != value and name not in _NOT_SET
    ]


def _users(wanted: Settings, now: Settings) -> list[Command]:
    """``ACL LIST`` says ``user NAME RULE …``, each of which ACL SETUSER takes."""
    names = {line.split()[1] for line in wanted.users}
    made = [line.split()[1] for line in now.users if line.split()[1] not in names]
    changed = [line.split()[1:] for line in wanted.users if line not in now.users]
    return [
        *(("ACL", "DELUSER", name) for name in made),
        *(("ACL", "SETUSER", name, "reset", *rules) for name, *rules in changed),
    ]


def _scripts(wanted: Settings, now: Settings) -> list[Command]:
    """Scripts have no list: where the baseline has some, those of the tests stay beside them."""
    if not wanted.scripts:
        return [("SCRIPT", "FLUSH")]
    if now.scripts < wanted.scripts:
        leaks.show(
            "A test ran SCRIPT FLUSH. The scripts of the baseline can't be read back from Redis, so EVALSHA will "
            "not find them; redis-py's register_script() loads them anew by itself."
        )
    return []


def _pairs(flat: Any) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
