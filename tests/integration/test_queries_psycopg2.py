"""What assertNumQueries counts of psycopg2, on connections and cursors of every age and kind."""

from __future__ import annotations

import io
import types
import unittest
from contextlib import closing
from typing import Any

import psycopg2
import psycopg2.pool
from psycopg2 import extensions, extras

from containertest import ConfigError
from tests.integration.query_counting import ONE, Queries


class Psycopg2Tests(Queries):
    def test_old_and_new_connections_and_pools(self) -> None:
        old = self.old()
        pool = psycopg2.pool.SimpleConnectionPool(1, 2, self.url)
        self.addCleanup(pool.closeall)

        def by_pool() -> None:
            for connection in (pool.getconn(), pool.getconn()):
                connection.cursor().execute(ONE)
                connection.commit()
                pool.putconn(connection)

        self.counted(lambda: old.cursor().execute(ONE), ONE)
        self.counted(lambda: self.old().cursor().execute(ONE), ONE)
        self.counted(by_pool, ONE, ONE)

    def test_transaction_control_of_the_driver_does_not_count_but_a_statement_does(self) -> None:
        def transaction() -> None:
            with closing(psycopg2.connect(self.url)) as connection:
                connection.cursor().execute(ONE)
                connection.commit()
                connection.cursor().execute("COMMIT")
                connection.rollback()

        self.counted(transaction, ONE, "COMMIT")

    def test_cursors_of_any_class_made_before_or_in_the_block(self) -> None:
        class Sets(extensions.cursor):
            """Executes two statements by one call."""

            def execute(self, query: Any, vars: Any = None) -> None:
                super().execute("SET statement_timeout = 0")
                super().execute(query, vars)

        class Connection(extensions.connection):
            pass

        old = self.old()
        before = old.cursor(cursor_factory=extras.RealDictCursor)
        both = self.old(connection_factory=extras.DictConnection)
        own = self.old(connection_factory=Connection)
        self.counted(lambda: before.execute(ONE), ONE)
        for factory in (extras.DictCursor, extras.RealDictCursor, extras.NamedTupleCursor):
            self.counted(lambda kind=factory: old.cursor(cursor_factory=kind).execute(ONE), ONE)  # type: ignore[misc]
        self.counted(lambda: both.cursor().execute(ONE), ONE)
        self.counted(lambda: own.cursor().execute(ONE), ONE)
        self.counted(lambda: own.cursor(cursor_factory=extensions.cursor).execute(ONE), ONE)
        self.counted(lambda: old.cursor(cursor_factory=Sets).execute(ONE), "SET statement_timeout = 0", ONE)
        self.assertIs(Sets.__bases__[0], extensions.cursor)
        self.assertIsNone(old.cursor_factory)

    def test_each_way_to_execute_counts(self) -> None:
        old = self.old()

        def work() -> None:
            cursor = old.cursor()
            cursor.executemany("INSERT INTO t VALUES (%s)", [(1,), (2,)])
            cursor.callproc("now")
            cursor.execute(b"SELECT 2")
            cursor.execute(psycopg2.sql.SQL("SELECT {}").format(psycopg2.sql.Literal(3)))
            cursor.copy_expert("COPY t TO STDOUT", io.StringIO())
            cursor.copy_from(io.StringIO("5\n"), "t")
            cursor.copy_to(io.StringIO(), "t")
            with self.assertRaises(psycopg2.errors.UndefinedTable):
                cursor.execute("SELECT * FROM missing")

        self.counted(
            work,
            "INSERT INTO t VALUES (%s)",
            "SELECT * FROM now(…)",
            "SELECT 2",
            "SELECT 3",
            "COPY t TO STDOUT",
            "COPY t FROM STDIN",
            "COPY t TO STDOUT",
            "SELECT * FROM missing",
        )

    def test_asynchronous_connection(self) -> None:
        connection = psycopg2.connect(self.url, async_=True)
        self.addCleanup(connection.close)
        extras.wait_select(connection)

        def work() -> None:
            cursor = connection.cursor()
            cursor.execute(ONE)
            extras.wait_select(connection)

        self.counted(work, ONE)

    def test_plain_cursor_from_before_that_is_used_is_told_of(self) -> None:
        old = self.old()
        for query in (ONE, b"SELECT 1"):
            cursor = old.cursor()
            cursor.execute(query)
            with self.case.assertNumQueries(0):
                pass  # it is there, but nobody uses it
            with self.subTest(query), self.assertRaisesRegex(ConfigError, "SELECT 1.*made before it"):
                with self.case.assertNumQueries(0):
                    cursor.execute(query)
        kept = []
        with self.assertRaisesRegex(ConfigError, "can't count"), self.case.assertNumQueries(1):
            kept.append(old.cursor(cursor_factory=extensions.cursor))
            kept[0].execute(ONE)

    def test_what_our_own_assertions_execute_does_not_count(self) -> None:
        self.counted(lambda: self.case.assertRowCount("t", 0))

    def test_reset_in_the_block_does_not_count(self) -> None:
        for change in ("SELECT 1", "CREATE TABLE made ()"):  # after the latter the shared connection is a new one
            with self.subTest(change), self.case.assertNumQueries(3):
                self.case.db.cursor().execute(change)
                self.case.reset_database()
                self.case.db.cursor().execute(ONE)
                self.old().cursor().execute(ONE)
            self.case.reset_database()
            self.assertIsNone(self.case.db.cursor_factory)

    def test_recordings_may_overlap_in_any_order(self) -> None:
        first, second = self.case.assertNumQueries(2), self.case.assertNumQueries(2)
        old = self.old()
        one = first.__enter__()
        old.cursor().execute("SELECT 1")
        two = second.__enter__()
        old.cursor().execute("SELECT 2")
        first.__exit__(None, None, None)
        old.cursor().execute("SELECT 3")
        second.__exit__(None, None, None)
        old.cursor().execute("SELECT 4")
        self.assertEqual((one, two), (["SELECT 1", "SELECT 2"], ["SELECT 2", "SELECT 3"]))
        self.assertTrue(isinstance(psycopg2._connect, types.BuiltinFunctionType))  # type: ignore[attr-defined]

    def test_error_of_the_block_is_the_one_that_is_seen(self) -> None:
        cursor = self.old().cursor()
        with self.assertRaises(ZeroDivisionError), self.case.assertNumQueries(5):
            cursor.execute(ONE)
            raise ZeroDivisionError


if __name__ == "__main__":
    unittest.main()
