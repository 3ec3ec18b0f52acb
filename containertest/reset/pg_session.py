"""The shared connection's own state, server side and in psycopg2, back to that of a new connection."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from psycopg2 import extensions

from containertest.queries.with_psycopg2 import is_counting
from containertest.sql.own import own_cursor

#: Roles and settings: what of the rows is seen, and how they are spelt, hangs on them.
SETTINGS = "SET SESSION AUTHORIZATION DEFAULT;RESET ROLE;RESET ALL;"

# What DISCARD ALL does, which can't be in one message with anything else, but for its discarding of plans: each
# costs 2 to 3 µs where there is nothing to discard. SET TRANSACTION comes first, since the transaction
# of this message still has the defaults that a test may have set.
SERVER_STATE = f"""\
SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE;\
{SETTINGS}CLOSE ALL;DEALLOCATE ALL;UNLISTEN *;DISCARD TEMP;\
DISCARD SEQUENCES;"""

#: Parameters that psycopg2 itself sets when it connects, or reads values by.
REPORTED = ("client_encoding", "DateStyle", "IntervalStyle", "TimeZone", "standard_conforming_strings")

ATTRIBUTES = attrgetter("isolation_level", "readonly", "deferrable", "cursor_factory", "encoding")

#: All that is looked at before each test, read and compared at once: cold Python code costs microseconds a line.
ALL_ATTRIBUTES = attrgetter(
    "closed", "status", "autocommit", "notices", "notifies", "string_types", "binary_types",
    "isolation_level", "readonly", "deferrable", "cursor_factory", "encoding",
)  # fmt: skip


class SessionState:
    """Remembers how a connection was when it was new, and brings it back to that."""

    def __init__(self) -> None:
        self._connection: Any = None
        self._attributes: tuple[Any, ...] = ()
        self._reported: tuple[str | None, ...] = ()
        self._adapters: tuple[dict[Any, Any], dict[Any, Any]] = ({}, {})
        self._when_new: tuple[Any, ...] = ()
        self._cursor: Any = None

    def ready(self, connection: Any) -> bool:
        """End what is under way on ``connection`` and set its attributes back.

        False means that it can't be used any more: broken, in COPY, in a two-phase transaction, or opened by a test,
        which may have changed it before we could ``remember`` it. Close it.
        """
        if connection is not self._connection:
            return False
        info = connection.info
        if (
            ALL_ATTRIBUTES(connection) == self._when_new
            and info.transaction_status == extensions.TRANSACTION_STATUS_IDLE
        ):
            return True
        if connection.closed or connection.status not in (extensions.STATUS_READY, extensions.STATUS_BEGIN):
            return False
        if info.transaction_status != extensions.TRANSACTION_STATUS_IDLE and not self._roll_back(connection):
            return False
        self._set_attributes(connection)
        return True

    def cursor(self, connection: Any) -> Any:
        """Return a cursor of ours, the same as long as it is the same connection: a new one costs 8 µs."""
        if self._cursor is None or self._cursor.closed or self._cursor.connection is not connection:
            self._cursor = own_cursor(connection)
        return self._cursor

    def reset_settings(self, connection: Any) -> None:
        """Bring back roles and settings alone, for a snapshot."""
        self.cursor(connection).execute(SETTINGS)
        self.set_reported(connection)

    def set_reported(self, connection: Any) -> None:
        """Bring back what psycopg2 had set, after SETTINGS."""
        now = _reported(connection)
        if now != self._reported:
            for name, value, then in zip(REPORTED, now, self._reported, strict=True):
                if then is not None and value != then:
                    self.cursor(connection).execute(f"SET {name} = '{then}'")

    def remember(self, connection: Any) -> None:
        """Note how ``connection``, which is new, is."""
        self._connection = connection
        isolation, readonly, deferrable, factory, encoding = ATTRIBUTES(connection)
        # In a block of assertNumQueries a new connection has a class of its own for cursors, until the block ends.
        self._attributes = (isolation, readonly, deferrable, None if is_counting(factory) else factory, encoding)
        self._reported = _reported(connection)
        self._adapters = (dict(connection.string_types), dict(connection.binary_types))
        self._when_new = (0, extensions.STATUS_READY, True, [], [], *self._adapters, *self._attributes)

    def _roll_back(self, connection: Any) -> bool:
        if connection.info.transaction_status not in (
            extensions.TRANSACTION_STATUS_INTRANS,
            extensions.TRANSACTION_STATUS_INERROR,
        ):
            return False
        try:
            connection.rollback()
            if connection.info.transaction_status != extensions.TRANSACTION_STATUS_IDLE:
                # psycopg2 doesn't know of a BEGIN that was sent in autocommit mode.
                own_cursor(connection).execute("ROLLBACK")
        except extensions.QueryCanceledError:
            raise
        except Exception:
            return False
        return bool(connection.info.transaction_status == extensions.TRANSACTION_STATUS_IDLE)

    def _set_attributes(self, connection: Any) -> None:
        if not connection.autocommit:
            connection.autocommit = True
        if ATTRIBUTES(connection) != self._attributes:
            isolation, readonly, deferrable, factory, encoding = self._attributes
            connection.set_session(
                isolation_level=isolation or "DEFAULT",
                readonly="DEFAULT" if readonly is None else readonly,
                deferrable="DEFAULT" if deferrable is None else deferrable,
            )
            if not is_counting(connection.cursor_factory):
                connection.cursor_factory = factory
            if connection.encoding != encoding:
                connection.set_client_encoding(encoding)
        for now, then in zip((connection.string_types, connection.binary_types), self._adapters, strict=True):
            if now != then:
                now.clear()
                now.update(then)
        # New lists: a test may have put a deque or a log of its own there.
        connection.notices = []
        connection.notifies = []


def _reported(connection: Any) -> tuple[str | None, ...]:
    return tuple(map(connection.get_parameter_status, REPORTED))
