"""Cursors for the library's own SQL, which mean the same whatever an application has told psycopg2.

Adapters (``register_adapter``), typecasters (``register_type``) and the wait callback of psycopg2 belong to the whole
process. An application may make JSON of each list, or read numbers as something of its own: that is for its SQL, not
for ours. So values go into our statements as literals that are written here, and results are read by types that are
named here. Source: psycopg2's "extensions module", and PostgreSQL's manual, "Lexical Structure".
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from psycopg2 import extensions, sql

__all__ = ["Literal", "OwnCursor", "blocking", "joined", "literal", "own_cursor"]

#: The types that our statements return, by their oids: bool, name, int8, int2, int4, text, oid, json, float8,
#: timestamptz, and arrays. psycopg2 looks at a cursor's own types first.
TYPES = {
    **dict.fromkeys((16,), extensions.BOOLEAN),
    **dict.fromkeys((20, 21, 23, 26), extensions.INTEGER),
    **dict.fromkeys((18, 19, 25, 114, 705, 1043, 2249, 5069), extensions.UNICODE),
    **dict.fromkeys((701,), extensions.FLOAT),
    **dict.fromkeys((1184,), extensions.PYDATETIMETZ),
    **dict.fromkeys((1005, 1007, 1016, 1028), extensions.INTEGERARRAY),
    **dict.fromkeys((1003, 1009), extensions.UNICODEARRAY),
}


class OwnCursor(extensions.cursor):
    """A cursor whose values and results don't depend on what is registered with psycopg2."""

    #: So that ``assertNumQueries`` does not count what it executes, see `containertest.queries.with_psycopg2`.
    _of_containertest = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.string_types = TYPES

    def execute(self, query: Any, vars: Any = None) -> None:
        """As psycopg2's, with ``%s`` and ``%(name)s`` for texts, numbers, booleans, None and lists of these."""
        if vars is not None:
            text = query.as_string(self) if isinstance(query, sql.Composable) else query
            query = text % _literals(vars)
        super().execute(query)


def own_cursor(connection: Any) -> OwnCursor:
    """A cursor for SQL of ours, whatever class of cursors the connection makes otherwise."""
    cursor: OwnCursor = connection.cursor(cursor_factory=OwnCursor)
    return cursor


def _literals(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {name: literal(value) for name, value in values.items()}
    return tuple(map(literal, values))


def literal(value: Any) -> str:
    """A value as PostgreSQL reads it, whatever ``standard_conforming_strings`` is."""
    if value is None:
        return "NULL"
    if isinstance(value, (bool, int)):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return literal(f"{{{','.join(map(_element, value))}}}")
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no value for SQL of ours")
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'" if "\\" in value else f"'{escaped}'"


def _element(value: str | int | bool | None) -> str:
    if value is None:
        return "NULL"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


class Literal(sql.Composable):
    """A value in a statement that is put together of parts, as `psycopg2.sql.Literal` is for others' SQL."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self._value = value

    def as_string(self, context: Any) -> str:
        return literal(self._value)


@contextlib.contextmanager
def blocking() -> Iterator[None]:
    """Switch off the process's wait callback (of psycogreen, for example) for what it can't do: COPY.

    Other threads wait for their servers without it for that time.
    """
    callback = extensions.get_wait_callback()
    extensions.set_wait_callback(None)
    try:
        yield
    finally:
        extensions.set_wait_callback(callback)


def joined(values: Sequence[Sequence[Any]]) -> str:
    """Rows for ``VALUES``: of each its values as literals."""
    return ", ".join(f"({', '.join(map(literal, row))})" for row in values)
