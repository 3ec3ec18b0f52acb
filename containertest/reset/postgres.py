"""Brings a PostgreSQL database back to its baseline, at a cost set by what was changed in it.

Each table has triggers by whose conditions it is noted, in the schema ``containertest``, who wrote there last; event
triggers note DDL. A reset is one message: the shared connection's session state, then a function that looks at the
notes. Whether anything at all was written it sees from the transaction ids: what only reads takes none. Rows written
since the baseline are told by theirs (``xmin``), so that no row has to be compared. After DDL the database
is cloned anew from the template. pg_install.sql has the details.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2

from containertest import leaks
from containertest.errors import ResetError
from containertest.reset import pg_database, pg_others, pg_prepare
from containertest.reset.pg_baseline import Baseline
from containertest.reset.pg_database import Database
from containertest.reset.pg_session import SERVER_STATE, SETTINGS, SessionState
from containertest.sql.own import own_cursor

log = logging.getLogger("containertest")

__all__ = ["Database", "PostgresReset", "prepare_template"]

#: Rows deleted by resets until tables are tidied: dead rows cost each later look at a table, a foreign key's too.
TIDY_AFTER = 1_000

#: How often a reset is tried again after something was in its way.
ATTEMPTS = 8

#: Seconds to wait where the server has no room for more locks.
CROWDED = 0.02

LIMITS = (
    "containertest: the role of the tests is no superuser. Rows and sequences are brought back before each test, "
    "but DDL in a test (CREATE, ALTER, DROP, REFRESH MATERIALIZED VIEW) is not seen, nor is what is written to the "
    "contents of a large object."
)

#: Counting sessions costs less than looking at their locks.
BUSY = "SELECT pg_catalog.pg_stat_get_db_numbackends({0}) > 1 AND containertest.others_busy({0})"

BLOATED = """
    SELECT name FROM containertest.tracked
    WHERE columns <> '{}' AND pg_relation_size(rel) > 2 * current_setting('block_size')::int
"""


def prepare_template(connection: Any) -> None:
    """Make what is in the template database the baseline; run once, after the migrations.

    ``connection`` is an open psycopg2 connection to the template, in no transaction.
    """
    before = connection.autocommit
    connection.autocommit = True
    try:
        pg_prepare.prepare(connection)
    finally:
        connection.autocommit = before


class PostgresReset:
    """Brings one database back to its baseline; create it when the database has just been cloned."""

    def __init__(self, database: Database, *, strict: bool = False) -> None:
        self._database = database
        self._strict = strict
        self._session = SessionState()
        self._baseline = Baseline(database)
        self._session.remember(database.connection)
        self._deleted = 0
        with self._baseline.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_event_trigger WHERE evtname LIKE 'containertest_%'")
            if cursor.fetchone()[0] != 2:
                warnings.warn(LIMITS, RuntimeWarning, stacklevel=2)

    def reset(self, culprit: str = "", warn: Callable[[str], None] = leaks.warn) -> None:
        """Bring back the current baseline.

        A session that was left in a transaction or holding locks is ended, with a ``ResourceWarning`` that names
        ``culprit``, the test that ran before; in strict mode with a ``ResetError``, after the reset is done.
        Also raises ``ResetError`` when the baseline can't be brought back.

        :param warn: gives the warning.
        """
        if self._baseline.mend():
            self._session.remember(self._database.connection)
        leftovers = self._bring_back()
        if self._deleted > TIDY_AFTER:
            self._tidy()
        if leftovers:
            self._report(leftovers, culprit or "the code before this reset", warn)

    def end_leftovers(self, culprit: str = "", warn: Callable[[str], None] = leaks.warn) -> None:
        """End such sessions, as `reset` does, but leave all data as they are.

        What goes wrong here is left to the next reset, which can mend it.
        """
        leftovers: list[pg_others.Leftover] = []
        try:
            connection = self._ready()
            cursor = self._session.cursor(connection)
            cursor.execute(f"{SETTINGS}{BUSY.format(self._baseline.oid)}")
            busy = cursor.fetchone()[0]
            self._session.set_reported(connection)
            if busy:
                leftovers = self._end_others(connection)
        except (psycopg2.Error, ResetError):
            log.debug("Nothing could be said of the connections that %s left", culprit, exc_info=True)
        if leftovers:
            self._report(leftovers, culprit or "the code before this look", warn)

    def push(self, number: int) -> None:
        """Make what is there now the level ``number`` of the baseline: the highest there is, or one above it.

        Level 0 is the template. Transactions that are still open are no part of it: they are ended, as ``reset`` does.
        The shared connection has then the settings and the role of a new one.
        """
        connection = self._ready()
        with self._explained("No snapshot could be made of the database {!r}: {}"):
            self._session.reset_settings(connection)
            # Later their rows could not be told from the baseline's, whose transaction ids are no lower.
            leftovers = self._end_others(connection)
            pg_database.roll_back_prepared(self._database)
            self._baseline.push(number)
        self._session.remember(self._database.connection)
        if leftovers:
            self._report(leftovers, "the code before this snapshot", leaks.warn)

    def pop(self, depth: int) -> None:
        """Forget the levels above ``depth``; ``reset`` has to follow."""
        if self._baseline.pops_in_place(depth):
            # In a transaction that a test has left, what is done would be rolled back with it.
            self._ready()
        with self._explained("A level of the database {!r} could not be forgotten: {}"):
            self._baseline.pop(depth)
        self._session.remember(self._database.connection)

    def _clone(self, reason: str) -> None:
        self._baseline.clone(reason)
        self._session.remember(self._database.connection)

    def close(self) -> None:
        """Close the connections that this has opened besides the shared one; the next use opens them again."""
        self._baseline.close()

    def renew(self) -> None:
        """Make the database anew, at its baseline, as when somebody has taken it away."""
        self._clone("it was taken away")

    @contextmanager
    def _explained(self, text: str) -> Iterator[None]:
        try:
            yield
        except psycopg2.Error as error:
            raise ResetError(text.format(self._database.name, str(error).strip())) from error

    def _bring_back(self) -> list[pg_others.Leftover]:
        leftovers: list[pg_others.Leftover] = []
        patient = True
        for attempt in range(ATTEMPTS):
            connection = self._ready()
            try:
                word, *rest = self._look(connection, patient)
                if word == "busy":
                    leftovers += self._end_others(connection)
                    patient = False
                elif word == "prepared":
                    pg_database.roll_back_prepared(self._database)
                else:
                    self._note(word, rest)
                    return leftovers
            except (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected):
                leftovers += self._end_others(connection)
            except psycopg2.Error as error:
                last = attempt == ATTEMPTS - 1
                if isinstance(error, psycopg2.errors.OutOfMemory) and not last:
                    # No room for so many locks, as when several processes reset large schemas at the same time.
                    time.sleep(CROWDED)
                    continue
                if connection.closed and not last:
                    self._database.close()
                    continue
                self._clone(str(error))
                return leftovers
        raise ResetError(f"The database {self._database.name!r} could not be brought back in {ATTEMPTS} attempts.")

    def _look(self, connection: Any, patient: bool) -> list[str]:
        """Send the one message and return the answer of the function ``reset`` in pg_install.sql."""
        baseline = self._baseline
        cursor = self._session.cursor(connection)
        cursor.execute(
            f"{SERVER_STATE}SELECT containertest.reset"
            f"({baseline.oid},'{baseline.seen}','{baseline.horizon}','{baseline.noted}',{patient})"
        )
        answer: str = cursor.fetchone()[0]
        self._session.set_reported(connection)
        return answer.split()

    def _note(self, word: str, rest: list[str]) -> None:
        if word == "clean":
            self._baseline.seen = rest[0]
        elif word == "done":
            self._baseline.moved_on(*rest[:3])
            self._deleted += int(rest[3])
        else:
            self._clone("DDL" if word == "clone" else "its unlogged data are lost")

    def _ready(self) -> Any:
        """Return the shared connection, in no transaction; a new one if the old is of no use."""
        try:
            connection = self._database.connection
        except psycopg2.OperationalError:
            if not pg_database.missing(self._database):
                raise
            self._clone("it was gone")
            connection = self._database.connection
        if not self._session.ready(connection):
            self._database.close()
            connection = self._database.connection
            self._session.remember(connection)
        return connection

    def _end_others(self, connection: Any) -> list[pg_others.Leftover]:
        with own_cursor(connection) as cursor:
            leftovers = pg_others.find_lasting(cursor)
            pg_others.end(cursor, leftovers)
        return leftovers

    def _report(self, leftovers: list[pg_others.Leftover], culprit: str, warn: Callable[[str], None]) -> None:
        message = "\n".join(f"{culprit}: {leftover}" for leftover in leftovers)
        if self._strict:
            raise ResetError(f"{message}\nClose the connection, or end its transaction, before the test ends.")
        warn(f"{message}; it was ended")

    def _tidy(self) -> None:
        self._deleted = 0
        with self._baseline.cursor() as cursor:
            cursor.execute(BLOATED)
            if names := [name for (name,) in cursor.fetchall()]:
                cursor.execute("VACUUM (SKIP_LOCKED, INDEX_CLEANUP ON) " + ", ".join(names))
        self._baseline.seen = "0"
