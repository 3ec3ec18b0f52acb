"""A spare clone of a database: made ahead, while tests run, and put in its place by renaming.

A new clone takes the time of a copy. Whose tests have DDL need one for each of them, so from the second one on the
next is made by a thread while the tests go on. The names of the spare and of the database that it replaces follow from
that of the database: whoever drops that one drops them too (`pg_clone.own_databases`).
"""

from __future__ import annotations

import logging
import threading
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2 import sql

from containertest.reset import pg_clone, pg_database
from containertest.reset.pg_database import Database
from containertest.reset.pg_levels import Begun, Level, arrive, begin, lay
from containertest.sql.own import own_cursor
from containertest.wait import poll

LOG = logging.getLogger("containertest")

#: Seconds that sessions of the database that is replaced may take to end.
PATIENCE = 10.0

SESSIONS = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s"


@dataclass(frozen=True)
class _Made:
    level: Level
    begun: Begun


class Spare:
    """Has a spare clone made from the second clone of a level on."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._name, self._replaced = self.names = pg_clone.spare_names(database.name)
        self._admin: Any = None
        self._thread: threading.Thread | None = None
        self._made: _Made | None = None
        self._cloned: Level | None = None

    def cloned(self, level: Level) -> None:
        """Note that a database was cloned for ``level``; if that is not the first time, make a spare for the next."""
        if self._cloned is not None and self._cloned.same_data(level):
            self._thread = threading.Thread(target=self._make, args=(level,), name="containertest-spare", daemon=True)
            self._thread.start()
        self._cloned = level

    def take(self, level: Level) -> Begun | None:
        """Put the spare in the place of the database; None if there is none of this level."""
        if self._thread:
            self._thread.join()
        made, self._thread, self._made = self._made, None, None
        if not made or not made.level.same_data(level):
            return None
        try:
            pg_database.leave(self._database)
            with self._cursor() as cursor:
                self._swap(cursor)
            with pg_database.cursor(self._database) as cursor:
                return arrive(cursor, made.begun)
        except psycopg2.Error as error:
            LOG.debug("the spare clone %s could not be used: %s", self._name, error)
            return None

    def close(self) -> None:
        """Close the connection that makes spares, once that is done; the next one opens it again."""
        if self._thread:
            self._thread.join()
        if self._admin:
            self._admin.close()

    def _swap(self, cursor: Any) -> None:
        name = self._database.name
        cursor.execute("SELECT FROM pg_database WHERE datname = %s", (name,))
        if cursor.rowcount:
            self._run(cursor, "ALTER DATABASE {} ALLOW_CONNECTIONS false", name)

            def left() -> bool:
                cursor.execute(SESSIONS, (name,))
                return bool(cursor.fetchone() == (0,))

            poll(left, PATIENCE)
            # Both in one message, which is one transaction.
            rename = "ALTER DATABASE {} RENAME TO {}; ALTER DATABASE {} RENAME TO {}"
            self._run(cursor, rename, name, self._replaced, self._name, name)
        else:
            self._run(cursor, "ALTER DATABASE {} RENAME TO {}", self._name, name)

    def _make(self, level: Level) -> None:
        try:
            with self._cursor() as cursor:
                for name in self.names:
                    pg_clone.drop_database(cursor, name)
                pg_clone.clone_database(cursor, level.template, self._name)
            with closing(self._database.connect(self._name)) as connection:
                connection.autocommit = True
                with own_cursor(connection) as cursor:
                    begun = begin(cursor)
                    if begun and (laid := lay(cursor, level, begun)):
                        self._made = _Made(level, laid)
        except psycopg2.Error as error:
            LOG.debug("no spare clone of %s: %s", level.template, error)

    def _cursor(self) -> Any:
        if self._admin is None or self._admin.closed:
            self._admin = pg_database.administer(self._database)
        return own_cursor(self._admin)

    @staticmethod
    def _run(cursor: Any, statement: str, *names: str) -> None:
        cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
