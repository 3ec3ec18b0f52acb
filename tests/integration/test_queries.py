"""What assertNumQueries counts: real drivers on a real server, on connections and cursors of every age and kind."""

from __future__ import annotations

import asyncio
import io
import sys
import threading
import types
import unittest
from collections.abc import Callable
from contextlib import closing
from typing import Any, ClassVar
from unittest import mock

import asyncpg
import psycopg
import psycopg2
import psycopg2.pool
import psycopg_pool
import sqlalchemy
from psycopg2 import extensions, extras
from sqlalchemy.ext.asyncio import create_async_engine

from containertest import ConfigError, ContainerManager, PostgresTestCase
from tests import support

ONE = "SELECT 1 AS one"


class Queries(unittest.TestCase):
    """A server, and an inner test whose assertion is looked at."""

    url: ClassVar[str]
    case: ClassVar[PostgresTestCase]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        support.require_any()
        servers = ContainerManager(redis=None).start()
        cls.addClassCleanup(servers.stop)

        class Case(PostgresTestCase):
            containers = servers

        cls.url = servers.postgres.url
        cls.case = Case("assertNumQueries")

    def setUp(self) -> None:
        super().setUp()
        with self.old().cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS t; CREATE TABLE t (a int)")

    def old(self, **options: Any) -> Any:
        """A psycopg2 connection that is there before the block."""
        connection = psycopg2.connect(self.url, **options)
        self.addCleanup(connection.close)
        connection.autocommit = True
        return connection

    def counted(self, work: Callable[[], object], *expected: str) -> None:
        """``work`` executes just these statements, and a wrong number fails."""
        with self.case.assertNumQueries(len(expected)) as queries:
            work()
        self.assertEqual(queries, list(expected))
        with self.assertRaisesRegex(AssertionError, f"^{len(expected)} queries were executed, not 99"):
            with self.case.assertNumQueries(99):
                work()

    async def awaited(self, work: Callable[[], Any], *expected: str) -> None:
        with self.case.assertNumQueries(len(expected)) as queries:
            await work()
        self.assertEqual(queries, list(expected))
        with self.assertRaisesRegex(AssertionError, f"^{len(expected)} queries were executed, not 99"):
            with self.case.assertNumQueries(99):
                await work()


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


class Psycopg3Tests(Queries):
    def setUp(self) -> None:
        super().setUp()
        self.before = psycopg.connect(self.url, autocommit=True)
        self.addCleanup(self.before.close)

    def test_old_and_new_connections_and_pools(self) -> None:
        cursor = self.before.cursor()
        with psycopg_pool.ConnectionPool(self.url, min_size=1, open=True) as pool:

            def by_pool() -> None:
                with pool.connection() as connection:
                    connection.execute(ONE)

            def new() -> None:
                with psycopg.connect(self.url) as connection:
                    connection.execute(ONE)

            self.counted(by_pool, ONE)
            self.counted(new, ONE)
            self.counted(lambda: self.before.execute(ONE), ONE)
            self.counted(lambda: cursor.execute(query=ONE), ONE)

    def test_each_kind_of_cursor_and_way_to_execute_counts(self) -> None:
        def work() -> None:
            psycopg.ClientCursor(self.before).execute("SELECT 1")
            getattr(psycopg, "RawCursor", psycopg.Cursor)(self.before).execute(b"SELECT 2")
            with self.before.transaction():
                with self.before.cursor("named") as named:
                    named.execute(psycopg.sql.SQL("SELECT {}").format(3))
                    named.fetchall()
            list(self.before.cursor().stream("SELECT 4"))
            with self.before.cursor().copy("COPY t TO STDOUT") as copy:
                list(copy)
            self.before.cursor().executemany("INSERT INTO t VALUES (%s)", [(1,), (2,)])
            with self.before.pipeline():
                self.before.execute("SELECT 5")
            with self.assertRaises(psycopg.errors.UndefinedTable):
                self.before.execute("SELECT * FROM missing")

        self.counted(
            work,
            "SELECT 1",
            "SELECT 2",
            "SELECT 3",
            "SELECT 4",
            "COPY t TO STDOUT",
            "INSERT INTO t VALUES (%s)",
            "SELECT 5",
            "SELECT * FROM missing",
        )

    def test_asynchronous(self) -> None:
        async def main() -> None:
            before = await psycopg.AsyncConnection.connect(self.url)

            async def old() -> None:
                async with before.transaction():
                    await (await before.execute("SELECT 1")).fetchall()
                    await before.cursor().executemany("INSERT INTO t VALUES (%s)", [(1,)])
                    async with before.cursor().copy("COPY t TO STDOUT") as copy:
                        [row async for row in copy]
                    [row async for row in before.cursor().stream("SELECT 2")]
                    await before.cursor("named").execute("SELECT 3")

            async def new() -> None:
                async with await psycopg.AsyncConnection.connect(self.url) as connection:
                    await connection.execute(ONE)

            await self.awaited(old, "SELECT 1", "INSERT INTO t VALUES (%s)", "COPY t TO STDOUT", "SELECT 2", "SELECT 3")
            await self.awaited(new, ONE)
            async with psycopg_pool.AsyncConnectionPool(self.url, min_size=1, open=False) as pool:

                async def by_pool() -> None:
                    async with pool.connection() as connection:
                        await connection.execute(ONE)

                await self.awaited(by_pool, ONE)
            await before.close()

        asyncio.run(main())


class AsyncpgTests(Queries, unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.before = await asyncpg.connect(self.url)
        self.addAsyncCleanup(self.before.close)

    async def test_old_and_new_connections_and_pools(self) -> None:
        async def new() -> None:
            connection = await asyncpg.connect(self.url)
            await connection.fetch(ONE)
            await connection.close()

        async with asyncpg.create_pool(self.url, min_size=1, max_size=2) as pool:

            async def by_pool() -> None:
                async with pool.acquire() as connection:
                    await connection.execute(ONE)
                await pool.fetchval(ONE)

            await self.awaited(by_pool, ONE, ONE)
        await self.awaited(new, ONE)
        await self.awaited(lambda: self.before.execute(query=ONE), ONE)

    async def test_each_way_to_execute_counts(self) -> None:
        prepared = await self.before.prepare(ONE)

        async def work() -> None:
            await self.before.execute("SELECT 1")
            await self.before.fetch("SELECT 2")
            await self.before.fetchrow("SELECT 3")
            await self.before.fetchval("SELECT 4")
            await self.before.executemany("INSERT INTO t VALUES ($1)", [(1,), (2,)])
            await self.before.copy_from_query("SELECT 5", output=io.BytesIO())
            await self.before.copy_from_table("t", output=io.BytesIO())
            await self.before.copy_to_table("t", source=io.BytesIO(b"6\n"))
            await self.before.copy_records_to_table("t", records=[(7,)])

        async def by_statements_and_cursors() -> None:
            await prepared.fetch()
            await prepared.fetchrow()
            await prepared.fetchval()
            async with self.before.transaction(), self.before.transaction():
                [row async for row in self.before.cursor("SELECT 8")]
                await (await prepared.cursor()).fetch(1)

        await self.awaited(
            work,
            *(f"SELECT {number}" for number in range(1, 5)),
            "INSERT INTO t VALUES ($1)",
            "COPY (SELECT 5) TO STDOUT",
            "COPY t TO STDOUT",
            "COPY t FROM STDIN",
            "COPY t FROM STDIN",
        )
        await self.awaited(by_statements_and_cursors, ONE, ONE, ONE, "SELECT 8", ONE)

    async def test_transaction_control_of_the_driver_does_not_count_but_a_statement_does(self) -> None:
        async def work() -> None:
            transaction = self.before.transaction()
            await transaction.start()
            await self.before.execute(ONE)
            await transaction.rollback()
            await self.before.execute("COMMIT")

        await self.awaited(work, ONE, "COMMIT")


class OrmTests(Queries):
    def test_sqlalchemy_on_each_synchronous_driver(self) -> None:
        for driver in ("psycopg2", "psycopg"):
            engine = sqlalchemy.create_engine(self.url.replace("postgresql", f"postgresql+{driver}", 1))

            def work(engine: sqlalchemy.Engine = engine) -> None:
                with engine.begin() as connection:
                    connection.execute(sqlalchemy.text(ONE))

            with self.subTest(driver):
                work()  # the first connection asks for the server's version, and so on
                self.counted(work, ONE)
            engine.dispose()

    def test_sqlalchemy_on_each_asynchronous_driver(self) -> None:
        async def main(driver: str) -> None:
            engine = create_async_engine(self.url.replace("postgresql", f"postgresql+{driver}", 1))

            async def work() -> None:
                async with engine.begin() as connection:
                    await connection.execute(sqlalchemy.text(ONE))

            await work()
            await self.awaited(work, ONE)
            await engine.dispose()

        for driver in ("psycopg", "asyncpg"):
            with self.subTest(driver):
                asyncio.run(main(driver))

    def test_django_on_each_driver(self) -> None:
        code = """
            import sys, warnings
            hidden, url = sys.argv[1:]
            if hidden:
                sys.modules["psycopg"] = None  # so Django takes psycopg2
            import django
            from django.conf import settings
            from urllib.parse import urlsplit
            u = urlsplit(url)
            settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": u.path[1:],
                "USER": u.username, "PASSWORD": u.password, "HOST": u.hostname, "PORT": u.port}})
            django.setup()
            from django.db import connection, transaction
            from containertest.queries import record
            def work():
                with transaction.atomic():
                    connection.cursor().execute("SELECT 1")
            work()
            with record() as queries:
                work()
            print(connection.Database.__name__, queries)
        """
        for hidden, driver in (("", "psycopg"), ("psycopg", "psycopg2")):
            with self.subTest(driver):
                ran = support.run_python(code, hidden, self.url)
                self.assertEqual((ran.stdout, ran.stderr), (f"{driver} ['SELECT 1']\n", ""))


class DriverTests(Queries):
    def test_driver_that_cannot_be_counted_is_named_at_the_start(self) -> None:
        for module, name in (("pg8000", "pg8000"), ("psqlpy", "psqlpy"), ("pgdb", "PyGreSQL")):
            loaded = mock.patch.dict(sys.modules, {module: types.ModuleType(module)})
            with self.subTest(name), loaded, self.assertRaisesRegex(ConfigError, f"can't count.*{name}"):
                with self.case.assertNumQueries(0):
                    self.fail("the block was run")

    def test_driver_that_is_loaded_in_the_block_is_named_at_its_end(self) -> None:
        with mock.patch.dict(sys.modules), self.assertRaisesRegex(ConfigError, "can't count.*pg8000"):
            with self.case.assertNumQueries(0):
                sys.modules["pg8000"] = types.ModuleType("pg8000")

    def test_drivers_that_are_not_installed_are_not_missed(self) -> None:
        hidden = dict.fromkeys(("psycopg", "asyncpg"))
        with mock.patch.dict(sys.modules, hidden):
            self.counted(lambda: self.old().cursor().execute(ONE), ONE)

    def test_driver_that_is_first_loaded_in_the_block_is_counted(self) -> None:
        code = """
            import sys
            from containertest.queries import record
            assert "psycopg" not in sys.modules
            with record() as queries:
                import psycopg
                psycopg.connect(sys.argv[1]).execute("SELECT 1")
            print(queries)
        """
        self.assertEqual(support.run_python(code, self.url).stdout, "['SELECT 1']\n")

    def test_many_and_long_statements_are_cut_in_the_message(self) -> None:
        cursor_of = self.old().cursor
        with self.assertRaises(AssertionError) as caught, self.case.assertNumQueries(0):
            for number in range(105):
                cursor_of().execute(f"SELECT {number} -- {'x' * 5000}")
        text = str(caught.exception)
        self.assertIn("105 queries were executed, not 0.\n  1. SELECT 0 -- xxx", text)
        self.assertTrue(text.endswith("\n  … and 5 more"))
        self.assertLess(len(text), 110_000)

    def test_statements_of_other_threads_count(self) -> None:
        old = psycopg.connect(self.url)
        self.addCleanup(old.close)

        def work() -> None:
            thread = threading.Thread(target=old.execute, args=(ONE,))
            thread.start()
            thread.join()

        self.counted(work, ONE)


if __name__ == "__main__":
    unittest.main()
