"""What assertNumQueries counts of an ORM, of drivers that can't be counted, and what it says."""

from __future__ import annotations

import asyncio
import sys
import threading
import types
import unittest
from unittest import mock

import asyncpg  # noqa: F401 (once: patched sys.modules forget what is first loaded meanwhile, and it crashes the second time)
import psycopg
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

from containertest import ConfigError
from tests import support
from tests.integration.query_counting import ONE, Queries


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
