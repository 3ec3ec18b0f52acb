"""What the assertions look at in PostgreSQL and Redis; each returns what it found, with words for a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from containertest import arguments
from containertest.queries.with_psycopg2 import uncounted_cursor

if TYPE_CHECKING:
    import psycopg2.extensions
    import redis

__all__ = ["count_rows", "expiry", "find_rows", "key_state", "shown", "some_keys", "some_rows"]

#: How many rows a message shows.
SHOWN = 5

#: The type numbers of json and jsonb, the same in every database.
_JSON = (114, 3802)


def count_rows(
    connection: psycopg2.extensions.connection, table: str, where: str | None = None, params: Any = ()
) -> int:
    """Count the rows of ``table`` (``schema.table`` for one off the search path) for which ``where`` holds.

    Raises TypeError or ValueError for what can't be asked.
    """
    from psycopg2 import sql

    where, params = arguments.condition(where), arguments.parameters(params)
    with _cursor(connection) as cursor:
        query = sql.SQL("SELECT count(*) FROM {}").format(_table(cursor, table))
        if where is not None:
            query = sql.SQL("{} WHERE {}").format(query, sql.SQL(_filled(cursor, where, params)))
        return int(_asked(cursor, query)[0][0])


def find_rows(
    connection: psycopg2.extensions.connection, table: str, columns: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Rows of ``table`` with these values, `SHOWN` at most; None stands for NULL.

    Raises TypeError or ValueError for what can't be asked, and TypeError for what PostgreSQL can't compare.
    """
    from psycopg2 import errors, sql

    with _cursor(connection) as cursor:
        source = _table(cursor, table)
        types = _types(cursor, source) if any(map(_is_nested, columns.values())) else {}
        tests = [_test(cursor, name, value, types.get(name)) for name, value in columns.items()]
        query = sql.SQL("SELECT * FROM {} WHERE {} LIMIT {}").format(
            source, sql.SQL(" AND ").join(tests) if tests else sql.SQL("true"), sql.SQL(str(SHOWN))
        )
        try:
            # Without parameters psycopg2 leaves a % alone, in names, too.
            cursor.execute(query)
        except (errors.UndefinedFunction, errors.DatatypeMismatch, errors.CannotCoerce) as problem:
            raise TypeError(_not_comparable(table, columns, problem)) from problem
        return _dicts(cursor)


def some_rows(connection: psycopg2.extensions.connection, table: str) -> str:
    """The first rows of ``table``, for a message."""
    from psycopg2 import sql

    with _cursor(connection) as cursor:
        cursor.execute(sql.SQL("SELECT * FROM {} LIMIT {}").format(_table(cursor, table), sql.SQL(str(SHOWN + 1))))
        rows = _dicts(cursor)
    if not rows:
        return f"{table} is empty."
    more = "\n  …" if len(rows) > SHOWN else ""
    return f"{table} has:\n" + "\n".join(f"  {shown(row)}" for row in rows[:SHOWN]) + more


def shown(row: Mapping[str, Any]) -> str:
    """A row for a message."""
    return "{" + ", ".join(f"{name!r}: {arguments.short(value)}" for name, value in row.items()) + "}"


def key_state(client: redis.Redis, key: str | bytes) -> tuple[bool, int]:
    """Whether ``key`` exists, and its time to live in milliseconds (-1: no expiry, -2: no key)."""
    left: Any = client.pttl(arguments.key(key))
    return left != -2, left


def expiry(left: int) -> str:
    """A time to live in milliseconds, in words."""
    return f"it expires in {left / 1000:g} s" if left >= 0 else "it has no expiry" if left == -1 else "it is not there"


def some_keys(client: redis.Redis) -> str:
    """Some keys of the database, for a message."""
    keys = [key for key, _ in zip(client.scan_iter(count=SHOWN), range(SHOWN), strict=False)]
    examples = ", ".join(map(arguments.short, keys))
    return f"It has {client.dbsize()} keys, such as [{examples}]." if keys else "It is empty."


def _cursor(connection: psycopg2.extensions.connection) -> psycopg2.extensions.cursor:
    # A plain cursor: a test may have given the connection one whose rows are dicts, or one that counts queries.
    cursor: psycopg2.extensions.cursor = connection.cursor(cursor_factory=uncounted_cursor())
    return cursor


def _asked(cursor: psycopg2.extensions.cursor, query: Any, *values: str) -> list[Any]:
    """The answer to a question of our own, in types that no application has changed."""
    from containertest.sql.own import own_cursor

    with own_cursor(cursor.connection) as own:
        own.execute(query, values or None)
        return own.fetchall()


def _table(cursor: psycopg2.extensions.cursor, table: str) -> Any:
    """``schema.table``, or a table that has the dots in its name, if there is one."""
    from psycopg2 import sql

    parts = arguments.name(table, "the table's name").split(".")
    ways = [(".".join(parts[:end]), ".".join(parts[end:])) for end in range(1, len(parts))]
    possible = [sql.Identifier(*way) for way in ways if all(way)] + [sql.Identifier(table)]
    if len(parts) > 1:
        for identifier in possible:
            if _asked(cursor, "SELECT to_regclass(%s) IS NOT NULL", identifier.as_string(cursor))[0][0]:
                return identifier
    return possible[0]


def _filled(cursor: psycopg2.extensions.cursor, where: str, params: Any) -> str:
    """``where`` with ``params`` in it; without any, a ``%`` stands for itself."""
    import psycopg2
    from psycopg2 import extensions

    if not params:
        return where
    try:
        if "%" not in where.replace("%%", ""):
            raise ValueError("there is no %s in it")  # psycopg2 takes no offence
        filled: bytes = cursor.mogrify(where, params)
    except (IndexError, KeyError, TypeError, ValueError) as problem:
        raise ValueError(
            f"where {arguments.short(where)} does not go with params {arguments.short(params)}: {problem}. There must "
            "be one value for each %s, or one of that name for each %(name)s; a percent sign by itself is %%."
        ) from problem
    except psycopg2.Error as problem:
        raise TypeError(f"params {arguments.short(params)}: {_not_adapted(problem)}") from problem
    return filled.decode(extensions.encodings[cursor.connection.encoding])


def _test(cursor: psycopg2.extensions.cursor, name: str, value: Any, kind: int | None) -> Any:
    """The condition that a column, of the type ``kind`` where that is known, has a value."""
    import psycopg2
    from psycopg2 import extras, sql

    column = sql.Identifier(arguments.name(name, "the name of a column"))
    if kind in _JSON and _is_nested(value):
        # By the value, not by its text: json has no operator for that.
        text = value if isinstance(value, extras.Json) else extras.Json(value)
        return sql.SQL("{}::jsonb IS NOT DISTINCT FROM {}::jsonb").format(column, sql.Literal(text))
    try:
        literal: sql.Composable = sql.SQL(sql.Literal(value).as_string(cursor))
    except psycopg2.Error as problem:
        said = f"column {name!r} can't be compared with {arguments.short(value)}: {_not_adapted(problem)}"
        raise TypeError(said) from problem
    if kind is not None and _is_nested(value):
        # A list of str is a text[] to PostgreSQL, which it does not compare with a varchar[].
        (found,) = _asked(cursor, f"SELECT format_type({kind}, NULL)")
        literal = sql.SQL("{}::{}").format(literal, sql.SQL(found[0]))
    return sql.SQL("{} IS NOT DISTINCT FROM {}").format(column, literal)


def _is_nested(value: Any) -> bool:
    """Whether a value may be meant as JSON."""
    from psycopg2.extras import Json

    return isinstance(value, (dict, list, tuple, Json))


def _types(cursor: psycopg2.extensions.cursor, source: Any) -> dict[str, int]:
    """The types of a table's columns, by the columns' names."""
    from psycopg2 import sql

    cursor.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(source))
    return {column[0]: column[1] for column in cursor.description or ()}


def _not_adapted(problem: Exception) -> str:
    return f"{problem}. Give it as a str, or register an adapter: psycopg2.extensions.register_adapter."


def _not_comparable(table: str, columns: Mapping[str, Any], problem: Exception) -> str:
    said = str(problem).strip().partition("\n")[0]
    return (
        f"a row of {table} can't be compared with {shown(columns)}: {said}.\nGive each column a value of its own type "
        "(a list for an array, a dict or list for json), or write a condition: assertRowCount(table, n, where, params)."
    )


def _dicts(cursor: psycopg2.extensions.cursor) -> list[dict[str, Any]]:
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
