"""What the assertions look at in PostgreSQL and Redis; each returns what it found, with words for a message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg2.extensions
    import redis

__all__ = ["count_rows", "expiry", "find_rows", "key_state", "some_keys", "some_rows"]

#: How many rows a message shows.
SHOWN = 5


def count_rows(
    connection: psycopg2.extensions.connection, table: str, where: str | None = None, params: Sequence[Any] | Any = ()
) -> int:
    """Count the rows of ``table`` (``schema.table`` for one off the search path) for which ``where`` holds."""
    from psycopg2 import sql

    query = sql.SQL("SELECT count(*) FROM {}").format(_name(table))
    if where is not None:
        query = sql.SQL("{} WHERE {}").format(query, sql.SQL(where))
    # Without parameters psycopg2 leaves a literal % in ``where`` alone.
    found: int = _fetch(connection, query, params or None)[0][0]
    return found


def find_rows(
    connection: psycopg2.extensions.connection, table: str, columns: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Rows of ``table`` with these values, `SHOWN` at most; None stands for NULL."""
    from psycopg2 import sql

    tests = [sql.SQL("{} IS NOT DISTINCT FROM %s").format(sql.Identifier(name)) for name in columns]
    query = sql.SQL("SELECT * FROM {} WHERE {} LIMIT {}").format(
        _name(table), sql.SQL(" AND ").join(tests) if tests else sql.SQL("true"), sql.Literal(SHOWN)
    )
    return _dicts(connection, query, list(columns.values()))


def some_rows(connection: psycopg2.extensions.connection, table: str) -> str:
    """The first rows of ``table``, for a message."""
    from psycopg2 import sql

    query = sql.SQL("SELECT * FROM {} LIMIT {}").format(_name(table), sql.Literal(SHOWN + 1))
    rows = _dicts(connection, query, None)
    if not rows:
        return f"{table} is empty."
    more = "\n  …" if len(rows) > SHOWN else ""
    return f"{table} has:\n" + "\n".join(f"  {row}" for row in rows[:SHOWN]) + more


def key_state(client: redis.Redis, key: str | bytes) -> tuple[bool, int]:
    """Whether ``key`` exists, and its time to live in milliseconds (-1: no expiry, -2: no key)."""
    left: Any = client.pttl(key)
    return left != -2, left


def expiry(left: int) -> str:
    """A time to live in milliseconds, in words."""
    return f"it expires in {left / 1000:g} s" if left >= 0 else "it has no expiry" if left == -1 else "it is not there"


def some_keys(client: redis.Redis) -> str:
    """Some keys of the database, for a message."""
    keys = [key for key, _ in zip(client.scan_iter(count=SHOWN), range(SHOWN), strict=False)]
    return f"It has {client.dbsize()} keys, such as {keys}." if keys else "It is empty."


def _name(table: str) -> Any:
    from psycopg2 import sql

    return sql.Identifier(*table.split("."))


def _fetch(connection: psycopg2.extensions.connection, query: Any, params: Any) -> list[Any]:
    from psycopg2.extensions import cursor as plain_cursor

    # A plain cursor: a test may have given the connection one whose rows are dicts, or one that counts queries.
    with connection.cursor(cursor_factory=plain_cursor) as cursor:
        cursor.execute(query, params)
        return cursor.fetchall()


def _dicts(connection: psycopg2.extensions.connection, query: Any, params: Any) -> list[dict[str, Any]]:
    from psycopg2.extensions import cursor as plain_cursor

    with connection.cursor(cursor_factory=plain_cursor) as cursor:
        cursor.execute(query, params)
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
