"""psycopg 3: all statements go through four methods of four classes of cursors, which are written in Python."""

from __future__ import annotations

from collections.abc import Iterator

from containertest.queries.doors import Door, by_first_argument

__all__ = ["doors"]


def doors() -> Iterator[Door]:
    """The methods that execute a statement; none where psycopg is not installed or can't be loaded.

    Other cursors derive from these, and connections and pools make cursors. A server-side cursor's DECLARE counts,
    its FETCH does not. ``connection.pgconn``, the wrapper of libpq itself, is not seen.
    """
    try:
        # Loaded even if nobody has done so yet: the block may be the first that does.
        import psycopg
    except ImportError:
        return
    for cursor in (psycopg.Cursor, psycopg.AsyncCursor, psycopg.ServerCursor, psycopg.AsyncServerCursor):
        for name in ("execute", "executemany", "stream", "copy"):
            yield Door(cursor, name, by_first_argument())
