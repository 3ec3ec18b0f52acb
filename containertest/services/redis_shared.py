"""Clients of a Redis server that others use too: they refuse what reaches beyond their own logical database.

redis-py is imported by who calls this.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

from containertest.errors import ConfigError

__all__ = ["confined"]

#: Commands that are for the whole server, or for another database than the connection's own.
_WHOLE = {
    *("FLUSHALL", "SWAPDB", "MOVE", "SHUTDOWN", "REPLICAOF", "SLAVEOF", "FAILOVER", "DEBUG"),
    *("SAVE", "BGSAVE", "BGREWRITEAOF", "SYNC", "PSYNC"),
    # MIGRATE writes to whatever server and database it is told; after RESET a connection is in database 0.
    *("MIGRATE", "RESET"),
}
#: Of commands that have subcommands, those that only look, or are about one's own connection; others are refused.
_ALLOWED = {
    "CONFIG": {"GET", "HELP"},
    "ACL": {"LIST", "USERS", "GETUSER", "WHOAMI", "CAT", "GENPASS", "DRYRUN", "HELP"},
    # SCRIPT DEBUG SYNC stops the whole server while a script is debugged.
    "SCRIPT": {"LOAD", "EXISTS", "HELP", "SHOW"},
    "FUNCTION": {"LIST", "DUMP", "STATS", "HELP"},
    "MODULE": {"LIST", "HELP"},
    "SLOWLOG": {"GET", "LEN", "HELP"},
    "LATENCY": {"DOCTOR", "GRAPH", "HISTOGRAM", "HISTORY", "LATEST", "HELP"},
}
_REFUSED = {
    "CLIENT": {"KILL", "PAUSE", "UNPAUSE", "UNBLOCK"},
    "CLUSTER": {"RESET", "FAILOVER", "FORGET", "MEET", "REPLICATE", "ADDSLOTS", "DELSLOTS", "SETSLOT", "FLUSHSLOTS"},
}


def confined(client: Any, database: int) -> Any:
    """Have all connections of a new ``redis.Redis`` refuse such commands; it stays what it is otherwise.

    :raises ConfigError: if it is a client of another database.
    """
    pool = client.connection_pool
    chosen = int(pool.connection_kwargs.get("db") or 0)
    if chosen != database:
        client.close()
        raise ConfigError(_message(f"connect(db={chosen})", database))
    pool.connection_class = _connection_class(pool.connection_class, database)
    if client.connection:  # of single_connection_client=True, made before
        client.connection.disconnect()
        pool.reset()
        client.connection = pool.make_connection()
    return client


@functools.cache
def _connection_class(base: Any, database: int) -> Any:
    """A class of connections; all that a client sends goes through one of these methods."""

    class Confined(base):  # type: ignore[misc]
        def send_command(self, *args: Any, **kwargs: Any) -> Any:
            _check(args, database)
            return super().send_command(*args, **kwargs)

        def pack_command(self, *args: Any) -> Any:
            _check(args, database)
            return super().pack_command(*args)

        def pack_commands(self, commands: Iterable[Sequence[Any]]) -> Any:
            listed = list(commands)
            for command in listed:
                _check(command, database)
            return super().pack_commands(listed)

    Confined.__name__ = Confined.__qualname__ = base.__name__
    return Confined


def _check(command: Sequence[Any], database: int) -> None:
    """Raise ConfigError for a command that reaches beyond ``database``."""
    # redis-py gives "CONFIG SET" as one word.
    words = [word for part in command[:1] for word in _text(part).upper().split()]
    words += [_text(part).upper() for part in command[1:]]
    name, second = (*words, "", "")[:2]
    for refused, shown in (
        (name in _WHOLE, name),
        (second not in _ALLOWED.get(name, {second}), f"{name} {second}"),
        (second in _REFUSED.get(name, ()), f"{name} {second}"),
        (name == "SELECT" and second != str(database), f"{name} {second}"),
        (name == "COPY" and _target(words, database) != str(database), "COPY … DB"),
    ):
        if refused:
            raise ConfigError(_message(shown, database))


def _target(words: Sequence[str], database: int) -> str:
    """The database that COPY source destination [DB database] copies to."""
    after = words[3:]
    return (*after[after.index("DB") + 1 :], "")[0] if "DB" in after else str(database)


def _text(part: Any) -> str:
    return bytes(part).decode("utf-8", "replace") if isinstance(part, (bytes, bytearray, memoryview)) else str(part)


def _message(shown: str, database: int) -> str:
    remedy = "Leave it out, or give the tests a Redis of their own: CONTAINERTEST_BACKEND=docker or local."
    if shown == "FLUSHALL":
        remedy = "FLUSHDB (flushdb()) empties the tests' own database."
    return (
        f"{shown} reaches beyond database {database}, which is all of this Redis that is the tests' own: others use "
        f"the server too (CONTAINERTEST_REDIS_URL).\n{remedy}"
    )
