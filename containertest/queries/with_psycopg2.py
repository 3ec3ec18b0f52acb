"""psycopg2: its connections and cursors are written in C, so nothing can be put in place of their methods.

But a class of ours may be slipped in between one that is written in Python and psycopg2's own below it, and a
connection of psycopg2's own class takes a class for its cursors. Not seen is a cursor of psycopg2's own class that was
made before, or that such a connection was asked for by ``cursor_factory=psycopg2.extensions.cursor``: as long as the
cursor exists, it is noticed that it was used.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakSet

from containertest.arguments import short
from containertest.errors import ConfigError
from containertest.queries.doors import Note, text

__all__ = ["begin", "is_counting", "refuse_used", "seen", "uncounted_cursor"]

#: An attribute of the cursor classes that need no look: they count what they execute, or never do so.
_OURS = "_of_containertest"

#: The connections whose cursors were given a class of ours, as long as there is a recording in this process.
_changed: WeakSet[Any] = WeakSet()


@contextmanager
def seen(note: Note) -> Iterator[None]:
    """Have the cursors of all connections note what they execute, for the block."""
    from unittest import mock

    # With it come the cursor classes that are psycopg2's own but written in Python.
    import psycopg2.extras
    from psycopg2 import extensions

    recording = _recording_class(note)
    plain: Any = psycopg2
    connect = plain._connect

    def connect_recording(*args: Any, **kwargs: Any) -> Any:
        connection = connect(*args, **kwargs)
        _set_cursors(connection, recording)
        return connection

    ours: tuple[tuple[Any, type[Any]], ...] = (
        (extensions.cursor, recording),
        (extensions.connection, _connection_class(recording)),
    )
    with ExitStack() as stack:
        for base, klass in ours:
            for other in [other for other in base.__subclasses__() if not hasattr(other, _OURS)]:
                stack.enter_context(_slipped_in(other, base, klass))
        stack.callback(_give_back, recording)
        stack.enter_context(mock.patch.object(plain, "_connect", connect_recording))
        yield


def begin(note: Note) -> dict[int, tuple[object, ...]]:
    """Have the connections that are there noted, too.

    :return: by its id, what each cursor that can't be seen has executed last, for `refuse_used`.
    """
    from psycopg2 import extensions

    # In one look: there may be a million objects.
    found = _living(extensions.connection, extensions.cursor)
    for connection in found:
        if isinstance(connection, extensions.connection):
            _set_cursors(connection, _recording_class(note))
    return _unseen(found)


def refuse_used(before: dict[int, tuple[object, ...]]) -> None:
    """Raise ConfigError if a cursor that can't be seen has executed something since ``before``."""
    from psycopg2 import extensions

    for key, now in _unseen(_living(extensions.cursor)).items():
        # psycopg2 makes new objects at each execution: the same text may have been executed again.
        if any(one is not other for one, other in zip(now, before.get(key, (None,) * len(now)), strict=True)):
            raise ConfigError(
                f"assertNumQueries can't count {short(text(now[0], None))}, executed in the block by a psycopg2 cursor "
                "that was made before it, or with cursor_factory=psycopg2.extensions.cursor. Make the cursor in the "
                "block, by connection.cursor()."
            )


@functools.cache
def uncounted_cursor() -> type[Any]:
    """A class as psycopg2's own, for what this library executes: that never counts."""
    from psycopg2.extensions import cursor

    return type("cursor", (cursor,), {"__slots__": (), _OURS: True})


def is_counting(cursor_class: object) -> bool:
    """Whether a connection's ``cursor_factory`` was set here, and will be given back."""
    return hasattr(cursor_class, _OURS)


@functools.cache
def _recording_class(note: Note) -> type[Any]:
    from psycopg2.extensions import cursor

    class Recording(cursor):
        __slots__ = ()
        _of_containertest = True

        def execute(self, query: Any, vars: Any = None) -> Any:
            note(text(query, self))
            return super().execute(query, vars)

        def executemany(self, query: Any, vars_list: Any) -> Any:
            note(text(query, self))
            return super().executemany(query, vars_list)

        def callproc(self, procname: Any, *args: Any) -> Any:
            note(f"SELECT * FROM {procname}(…)")
            return super().callproc(procname, *args)

        def copy_expert(self, sql: Any, *args: Any, **kwargs: Any) -> Any:
            note(text(sql, self))
            return super().copy_expert(sql, *args, **kwargs)

        def copy_from(self, file: Any, table: Any, *args: Any, **kwargs: Any) -> Any:
            note(f"COPY {table} FROM STDIN")
            return super().copy_from(file, table, *args, **kwargs)

        def copy_to(self, file: Any, table: Any, *args: Any, **kwargs: Any) -> Any:
            note(f"COPY {table} TO STDOUT")
            return super().copy_to(file, table, *args, **kwargs)

    return Recording


def _connection_class(recording: type[Any]) -> type[Any]:
    from psycopg2 import extensions

    class Connection(extensions.connection):
        __slots__ = ()
        _of_containertest = True

        def cursor(self, name: Any = None, cursor_factory: Any = None, *args: Any, **kwargs: Any) -> Any:
            usual: Any = self.cursor_factory
            factory = cursor_factory or usual or extensions.cursor
            return super().cursor(name, recording if factory is extensions.cursor else factory, *args, **kwargs)

    return Connection


@contextmanager
def _slipped_in(klass: type[Any], base: type[Any], ours: type[Any]) -> Iterator[None]:
    """Put ``ours`` between a class and its base, for the block."""
    before = klass.__bases__
    try:
        klass.__bases__ = tuple(ours if each is base else each for each in before)
    except TypeError:
        # Written in C, as psycopg2's own for replication.
        yield
        return
    try:
        yield
    finally:
        klass.__bases__ = before


def _set_cursors(connection: Any, recording: type[Any]) -> None:
    """Have a connection of psycopg2's own class make cursors that note, unless theirs are of another class already."""
    from psycopg2 import extensions

    if not hasattr(connection, _OURS) and connection.cursor_factory in (None, extensions.cursor):
        connection.cursor_factory = recording
        _changed.add(connection)


def _give_back(recording: type[Any]) -> None:
    for connection in _changed:
        if connection.cursor_factory is recording:
            connection.cursor_factory = None
    _changed.clear()


def _living(*classes: type[Any]) -> list[Any]:
    kinds = set(classes)
    while more := {below for kind in kinds for below in kind.__subclasses__()} - kinds:
        kinds |= more
    # By type(): to ask an object itself, as isinstance does, makes a lazy one compute what it stands for.
    return [item for item in gc.get_objects() if type(item) in kinds]


def _unseen(objects: list[Any]) -> dict[int, tuple[object, ...]]:
    from psycopg2 import extensions

    cursors = (item for item in objects if isinstance(item, extensions.cursor) and not hasattr(item, _OURS))
    return {id(cursor): (cursor.query, cursor.statusmessage) for cursor in cursors}
