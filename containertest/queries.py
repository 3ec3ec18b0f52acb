"""Records the statements that this process sends through psycopg2, for ``assertNumQueries``.

psycopg2 has no hook for that, but takes a cursor class per connection and per cursor: while a recording is on, each
open connection of the process (the garbage collector knows them all) and each new one makes cursors of a class that
notes what they execute. Cursors that exist already are not seen, nor are those that a connection of psycopg2's own
class, opened before, makes with a ``cursor_factory`` of their own.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

__all__ = ["record"]


@contextmanager
def record() -> Iterator[list[str]]:
    """Yield a list that receives the text of each statement executed in the block, by any thread."""
    # Late: it loads asyncio.
    from unittest import mock

    import psycopg2
    from psycopg2.extensions import connection as connection_class

    queries: list[str] = []
    connect = psycopg2._connect  # type: ignore[attr-defined]
    hook = _hook(queries)

    def connect_recording(dsn: Any, connection_factory: Any = None, **kwargs: Any) -> Any:
        wanted = connection_factory or connection_class
        if not isinstance(wanted, type):
            connection = connect(dsn, connection_factory=wanted, **kwargs)
            stack.enter_context(_recorded(connection, hook, queries))
            return connection
        connection = connect(dsn, connection_factory=_hooked(wanted, hook), **kwargs)
        stack.callback(_change_class, connection, wanted)
        return connection

    with ExitStack() as stack:
        stack.callback(setattr, hook, "recording", False)
        stack.enter_context(mock.patch.object(psycopg2, "_connect", connect_recording))
        for connection in gc.get_objects():
            if isinstance(connection, connection_class):
                stack.enter_context(_recorded(connection, hook, queries))
        yield queries


def _hook(queries: list[str]) -> type[Any]:
    """A class of connections whose cursors note what they execute, whatever class of cursors is asked for."""
    from psycopg2 import extensions

    class Hook(extensions.connection):
        recording = True

        def cursor(self, name: Any = None, cursor_factory: Any = None, *args: Any, **kwargs: Any) -> Any:
            usual: Any = self.cursor_factory
            factory = cursor_factory or usual or extensions.cursor
            if hook.recording and isinstance(factory, type):
                factory = _recording_class(factory, queries)
            return super().cursor(name, factory, *args, **kwargs)

    hook: Any = Hook
    return Hook


def _hooked(wanted: type[Any], hook: type[Any]) -> type[Any]:
    """``wanted`` with the hook below it: what a class as DictConnection does in its ``cursor`` comes first."""
    return hook if issubclass(hook, wanted) else type(wanted.__name__, (wanted, hook), {})


@contextmanager
def _recorded(connection: Any, hook: type[Any], queries: list[str]) -> Iterator[None]:
    own = type(connection)
    if _change_class(connection, _hooked(own, hook)):
        try:
            yield
        finally:
            _change_class(connection, own)
        return
    before = connection.cursor_factory
    ours = _recording_class(before, queries)
    connection.cursor_factory = ours
    try:
        yield
    finally:
        if connection.cursor_factory is ours:
            connection.cursor_factory = before


def _change_class(connection: Any, wanted: type[Any]) -> bool:
    """Give a connection another class; False where Python doesn't let one, as from or to psycopg2's own."""
    try:
        connection.__class__ = wanted
    except TypeError:
        return False
    return True


def _recording_class(base: type[Any] | None, queries: list[str]) -> type[Any]:
    from psycopg2.extensions import cursor

    inside: set[int] = set()

    def noted(cursor: Any, query: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        # A cursor class may execute by another of its own methods: count the outer call only.
        if id(cursor) in inside:
            return function(*args, **kwargs)
        queries.append(_text(query, cursor))
        inside.add(id(cursor))
        try:
            return function(*args, **kwargs)
        finally:
            inside.discard(id(cursor))

    class Recording(base or cursor):  # type: ignore[misc]
        def execute(self, query: Any, vars: Any = None) -> Any:
            return noted(self, query, super().execute, query, vars)

        def executemany(self, query: Any, vars_list: Any) -> Any:
            return noted(self, query, super().executemany, query, vars_list)

        def callproc(self, procname: Any, *args: Any) -> Any:
            return noted(self, f"SELECT * FROM {procname}(…)", super().callproc, procname, *args)

        def copy_expert(self, sql: Any, *args: Any, **kwargs: Any) -> Any:
            return noted(self, sql, super().copy_expert, sql, *args, **kwargs)

        def copy_from(self, file: Any, table: Any, *args: Any, **kwargs: Any) -> Any:
            return noted(self, f"COPY {table} FROM STDIN", super().copy_from, file, table, *args, **kwargs)

        def copy_to(self, file: Any, table: Any, *args: Any, **kwargs: Any) -> Any:
            return noted(self, f"COPY {table} TO STDOUT", super().copy_to, file, table, *args, **kwargs)

    return Recording


def _text(query: Any, cursor: Any) -> str:
    if hasattr(query, "as_string"):
        return str(query.as_string(cursor))
    return query.decode(errors="replace") if isinstance(query, bytes) else str(query)
