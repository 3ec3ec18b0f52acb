"""asyncpg: connections and prepared statements execute; its transactions and pools send statements through these."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from containertest.queries.doors import Door, Note, by_first_argument

__all__ = ["doors"]

#: Whether the driver itself is executing something: a BEGIN, a COMMIT, or a pool's RESET.
_by_itself: ContextVar[bool] = ContextVar("containertest_asyncpg_by_itself", default=False)

#: Methods of a connection, and the statement that their first argument makes.
_OF_CONNECTIONS = {
    **dict.fromkeys(("execute", "executemany", "fetch", "fetchval", "fetchrow", "fetchmany", "cursor"), "{}"),
    "copy_from_query": "COPY ({}) TO STDOUT",
    "copy_from_table": "COPY {} TO STDOUT",
    "copy_to_table": "COPY {} FROM STDIN",
    "copy_records_to_table": "COPY {} FROM STDIN",
}


def doors() -> Iterator[Door]:
    """The methods that execute a statement; none where asyncpg is not installed or can't be loaded.

    A pool calls those of its connections. To prepare a statement does not count, each execution of it does.
    """
    try:
        import asyncpg
        from asyncpg.prepared_stmt import PreparedStatement
        from asyncpg.transaction import Transaction
    except ImportError:
        return
    for name, words in _OF_CONNECTIONS.items():
        yield Door(asyncpg.Connection, name, _by_others(by_first_argument(words)))
    for name in ("fetch", "fetchval", "fetchrow", "fetchmany", "executemany", "cursor"):
        yield Door(PreparedStatement, name, _prepared)
    for name in ("start", "commit", "rollback", "__aexit__"):
        yield Door(Transaction, name, _silent)
    yield Door(asyncpg.Connection, "reset", _silent)


def _by_others(
    telling: Callable[[Callable[..., Any], Note], Callable[..., Any]],
) -> Callable[[Callable[..., Any], Note], Callable[..., Any]]:
    return lambda method, note: telling(method, lambda query: None if _by_itself.get() else note(query))


def _prepared(method: Callable[..., Any], note: Note) -> Callable[..., Any]:
    @functools.wraps(method)
    def told(self: Any, *args: Any, **kwargs: Any) -> Any:
        note(self.get_query())
        return method(self, *args, **kwargs)

    return told


def _silent(method: Callable[..., Any], _note: Note) -> Callable[..., Any]:
    @functools.wraps(method)
    async def silent(*args: Any, **kwargs: Any) -> Any:
        token = _by_itself.set(True)
        try:
            return await method(*args, **kwargs)
        finally:
            _by_itself.reset(token)

    return silent
