"""The TestCase classes on real servers: inner classes as users write them, and what becomes of their tests."""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import types
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import psycopg2.pool
from psycopg2 import extras

from containertest import ContainerManager, IntegrationTestCase
from tests import support
from tests.integration.user_project import Project

SCHEMA = "CREATE TABLE users (id serial PRIMARY KEY, email text UNIQUE, name text);"
ADD = "INSERT INTO users (email) VALUES (%s) RETURNING id"


def add(connection: Any, email: str) -> int:
    """Insert a user and return the id."""
    with connection.cursor() as cursor:
        cursor.execute(ADD, (email,))
        return int(cursor.fetchone()[0])


class CaseTests:
    """The decorator makes a class for each backend."""

    backend = ""
    containers: ClassVar[ContainerManager]

    @classmethod
    def setUpClass(cls: Any) -> None:
        super().setUpClass()  # type: ignore[misc]
        folder = Path(tempfile.mkdtemp(prefix="ct-case-"))
        cls.addClassCleanup(shutil.rmtree, folder)
        (folder / "schema.sql").write_text(SCHEMA)
        cls.containers = ContainerManager(migrations=folder / "schema.sql", backend=cls.backend).start()
        cls.addClassCleanup(cls.containers.stop)

        class Base(IntegrationTestCase):
            containers = cls.containers

        cls.Base = Base

    def passes(self: Any, case: type[unittest.TestCase], *names: str) -> unittest.TestResult:
        result = support.run_case(case, *names)
        self.assertEqual([text for _, text in (*result.errors, *result.failures)], [])
        return result

    def fails(self: Any, case: type[unittest.TestCase]) -> list[str]:
        """What is printed of the failures of ``case``, all of whose tests fail."""
        result = support.run_case(case)
        self.assertEqual([text for _, text in result.errors], [])
        self.assertEqual(len(result.failures), result.testsRun)
        return [text for _, text in result.failures]

    def test_each_test_starts_at_the_baseline_whoever_overrides_what_without_super(self: Any) -> None:
        class Plain(self.Base):
            @classmethod
            def setUpClass(cls) -> None:
                pass

            def setUp(self) -> None:
                self.first = add(self.db, "setUp@example.com")
                self.redis.incr("tests")

            def tearDown(self) -> None:
                add(self.db, "tearDown@example.com")

            def check(self) -> None:
                self.assertEqual((self.first, self.redis.get("tests")), (1, b"1"))
                self.assertRowCount("users", 1)

            test_1 = test_2 = test_3 = check

        self.passes(Plain)

    def test_data_of_a_class_and_of_its_bases_are_the_baseline_of_its_tests(self: Any) -> None:
        class Parent(self.Base):
            @classmethod
            def setUpTestData(cls) -> None:
                cls.admin = add(cls.db, "admin@example.com")
                cls.redis.set("role:1", "admin", ex=600)

            def test_1(self) -> None:
                self.assertEqual(self.admin, 1)
                self.assertRowExists("users", id=1, email="admin@example.com", name=None)
                self.assertKeyExpires("role:1", within=600)
                with self.db.cursor() as cursor:
                    cursor.execute("DELETE FROM users")
                self.redis.flushall()

            test_2 = test_1

        class Child(Parent):
            @classmethod
            def setUpTestData(cls) -> None:
                super().setUpTestData()
                add(cls.db, "child@example.com")

            def test_1(self) -> None:
                self.assertRowCount("users", 2)
                self.assertEqual(add(self.db, "x@example.com"), 3)

            test_2 = test_1

        class Other(self.Base):
            def test_other_has_nothing_of_it(self) -> None:
                self.assertRowCount("users", 0)
                self.assertNoKey("role:1")
                self.assertEqual(add(self.db, "x@example.com"), 1)

        for case in (Parent, Child, Other, Parent):
            self.passes(case)

    def test_fixtures_are_found_beside_the_test_module(self: Any) -> None:
        with self.user_module() as (name, folder):
            (folder / "users.sql").write_text("INSERT INTO users (email) VALUES ('fixture@example.com');")
            (folder / "keys.json").write_text('{"fixture": "yes"}')

            class Fixtures(self.Base):
                __module__ = name
                fixtures = ["users.sql", "keys.json"]

                def test_1(self) -> None:
                    self.assertRowCount("users", 1)
                    self.assertKeyExists("fixture")
                    self.redis.delete("fixture")

                test_2 = test_1

            class InTest(self.Base):
                __module__ = name

                def test_1(self) -> None:
                    self.load_fixtures("users.sql", "keys.json")
                    self.assertRowCount("users", 1)

                def test_2(self) -> None:
                    self.assertRowCount("users", 0)
                    self.assertNoKey("fixture")

            self.passes(Fixtures)
            self.passes(InTest)

    @contextmanager
    def user_module(self: Any) -> Iterator[tuple[str, Path]]:
        """A module in a folder of its own: yields its name and the folder."""
        with tempfile.TemporaryDirectory(prefix="ct-case-") as folder:
            made = types.ModuleType(f"users_module_on_{self.backend}")
            made.__file__ = f"{folder}/test_it.py"
            with mock.patch.dict(sys.modules, {made.__name__: made}):
                yield made.__name__, Path(folder)

    def test_failing_data_fail_their_class_and_no_other(self: Any) -> None:
        class Broken(self.Base):
            @classmethod
            def setUpTestData(cls) -> None:
                add(cls.db, "half@example.com")
                cls.redis.set("half", 1)
                raise RuntimeError("no more")

            def test_it(self) -> None: ...

        class Whole(self.Base):
            def test_it(self) -> None:
                self.assertRowCount("users", 0)
                self.assertNoKey("half")

        result = support.run_case(Broken)
        self.assertIn("RuntimeError: no more", result.errors[0][1])
        self.passes(Whole)

    def test_asynchronous_tests(self: Any) -> None:
        class Async(self.Base, unittest.IsolatedAsyncioTestCase):
            async def asyncSetUp(self) -> None:
                self.id_of_first = add(self.db, "a@example.com")

            async def test_1(self) -> None:
                self.assertEqual(self.id_of_first, 1)
                self.assertEqual(add(self.db, "b@example.com"), 2)

            test_2 = test_1

        self.assertEqual(self.passes(Async).testsRun, 2)

    def test_skips_expected_failures_and_sub_tests(self: Any) -> None:
        class Mixed(self.Base):
            @unittest.skip("by decorator")
            def test_1(self) -> None: ...

            def test_2(self) -> None:
                add(self.db, "a@example.com")
                self.skipTest("in the middle")

            @unittest.expectedFailure
            def test_3(self) -> None:
                self.assertRowCount("users", 1)

            def test_4(self) -> None:
                for number in range(3):
                    with self.subTest(number=number):
                        self.assertEqual(add(self.db, f"{number}@example.com"), number + 1)
                        self.assertNotEqual(number, 1)

        result = support.run_case(Mixed)
        self.assertEqual([reason for _, reason in result.skipped], ["by decorator", "in the middle"])
        self.assertEqual((len(result.expectedFailures), len(result.failures), len(result.errors)), (1, 1, 0))
        self.assertIn("(number=1)", str(result.failures[0][0]))

    def test_assertions_say_what_is_there(self: Any) -> None:
        class Failing(self.Base):
            @classmethod
            def setUpTestData(cls) -> None:
                add(cls.db, "a@example.com")
                cls.redis.set("key", 1)
                cls.redis.set("short", 1, ex=5000)

            def test_1(self) -> None:
                self.assertRowCount("users", 2)

            def test_2(self) -> None:
                self.assertRowCount("users", 1, "email LIKE %s", ("b%",))

            def test_3(self) -> None:
                self.assertRowExists("users", email="b@example.com")

            def test_4(self) -> None:
                self.assertNoRow("users", email="a@example.com", name=None)

            def test_5(self) -> None:
                with self.assertNumQueries(2):
                    add(self.db, "c@example.com")

            def test_6(self) -> None:
                self.assertKeyExists("no such key")

            def test_7(self) -> None:
                self.assertNoKey("key")

            def test_8(self) -> None:
                self.assertKeyExpires("key")

            def test_9(self) -> None:
                self.assertKeyExpires("short", within=60)

        row = "{'id': 1, 'email': 'a@example.com', 'name': None}"
        for text, words in zip(
            self.fails(Failing),
            (
                ("users has 1 rows, not 2. users has:", row),
                ("users has 0 rows where email LIKE %s ('b%',), not 1.", row),
                ("users has no row with email='b@example.com'. users has:", row),
                ("users has a row with email='a@example.com', name=None:", row),
                ("1 queries were executed, not 2.", "1. INSERT INTO users (email) VALUES (%s)"),
                ("Redis has no key 'no such key'. It has 2 keys, such as [",),
                ("Redis has the key 'key' (it has no expiry).",),
                ("Redis' key 'key' should expire, but it has no expiry.",),
                ("Redis' key 'short' should expire within 60 s, but it expires in ",),
            ),
            strict=True,
        ):
            for word in words:
                self.assertIn(word, text)
            self.assertNotIn("containertest/case.py", text)

    def test_queries_are_counted_on_every_connection_and_in_every_thread(self: Any) -> None:
        class Queries(self.Base):
            def test_it(self) -> None:
                pool = psycopg2.pool.ThreadedConnectionPool(1, 4, self.containers.postgres.url)
                self.addCleanup(pool.closeall)

                def work(number: int) -> None:
                    connection = pool.getconn()
                    add(connection, f"{number}@example.com")
                    connection.commit()
                    pool.putconn(connection)

                with self.assertNumQueries(6) as queries:
                    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
                    for thread in threads:
                        thread.start()
                    for thread in threads:
                        thread.join()
                    add(self.db, "shared@example.com")
                    with self.connect() as connection:
                        add(connection, "own@example.com")
                self.assertTrue(all(query.startswith("INSERT INTO users") for query in queries), queries)
                self.assertRowCount("users", 6)

        self.passes(Queries)

    def test_queries_of_any_class_of_connections_and_cursors_are_counted(self: Any) -> None:
        class Queries(self.Base):
            def test_it(self) -> None:
                def value(row: Any) -> Any:
                    """One way for each class of cursors."""
                    ways = {tuple: lambda: row[0], extras.DictRow: lambda: row["one"]}
                    return ways.get(type(row), lambda: row["one"] if isinstance(row, dict) else row.one)()

                url = self.containers.postgres.url
                pool = psycopg2.pool.SimpleConnectionPool(1, 2, url, cursor_factory=extras.RealDictCursor)
                before = psycopg2.connect(url, connection_factory=extras.DictConnection)
                with self.assertNumQueries(7) as queries:
                    new = psycopg2.connect(url, connection_factory=extras.DictConnection)
                    other = psycopg2.connect(url, cursor_factory=extras.NamedTupleCursor)
                    for connection in (before, new, other, self.db, pool.getconn(), pool.getconn()):
                        self.addCleanup(connection.close)
                        with connection.cursor() as cursor:
                            cursor.execute("SELECT 1 AS one")
                            row = cursor.fetchone()
                            self.assertEqual(value(row), 1)
                    with new.cursor("named", withhold=True) as cursor:
                        cursor.execute("SELECT 2")
                        self.assertEqual(cursor.fetchall(), [[2]])
                self.assertEqual(queries, ["SELECT 1 AS one"] * 6 + ["SELECT 2"])
                self.assertEqual([type(before), type(new)], [extras.DictConnection] * 2)

        self.passes(Queries)

    def test_extra_connections_are_closed_at_the_end_of_the_test(self: Any) -> None:
        opened = []

        class Extra(self.Base):
            def test_1(self) -> None:
                connection = self.connect()
                opened.append(connection)
                self.assertFalse(connection.autocommit)
                add(connection, "never committed")
                opened.append(self.connect(application_name="mine"))

        self.passes(Extra)
        self.assertEqual([bool(connection.closed) for connection in opened], [True, True])

    def test_closed_and_changed_shared_connections_are_as_new_in_the_next_test(self: Any) -> None:
        class Rough(self.Base):
            def test_1(self) -> None:
                self.db.close()
                self.redis.close()
                self.redis.connection_pool.disconnect()

            def test_2(self) -> None:
                self.check()
                self.db.autocommit = False
                add(self.db, "never committed")
                with self.db.cursor() as cursor:
                    cursor.execute("SET search_path = pg_catalog")

            def test_3(self) -> None:
                self.check()
                self.db.set_session(readonly=True)

            def test_4(self) -> None:
                self.check()
                self.db.autocommit = False
                with self.assertRaises(psycopg2.Error):
                    self.db.cursor().execute("SELECT broken")

            def test_5(self) -> None:
                self.check()
                self.redis.select(3)
                self.redis.set("elsewhere", 1)

            def test_6(self) -> None:
                self.check()

            def check(self) -> None:
                self.assertTrue(self.db.autocommit)
                self.assertEqual(add(self.db, "a@example.com"), 1)
                self.assertEqual(self.redis.dbsize(), 0)
                self.redis.set("key", 1)

        self.passes(Rough)

    def test_debug_runs_a_test_without_a_result(self: Any) -> None:
        class Debugged(self.Base):
            def test_it(self) -> None:
                self.assertEqual(add(self.db, "a@example.com"), 1)
                raise ZeroDivisionError

        for _ in range(2):
            with self.assertRaises(ZeroDivisionError):
                Debugged("test_it").debug()

    def test_reset_in_the_middle_of_a_test(self: Any) -> None:
        class Middle(self.Base):
            @classmethod
            def setUpTestData(cls) -> None:
                add(cls.db, "baseline@example.com")

            def test_it(self) -> None:
                for reset in (self.reset_database, self.reset_all):
                    self.assertEqual(add(self.db, "more@example.com"), 2)
                    reset()
                    self.assertRowCount("users", 1)
                self.redis.set("key", 1)
                self.reset_redis()
                self.assertNoKey("key")

        self.passes(Middle)


support.on_every_backend(CaseTests)

NEEDS = """
from containertest import ContainerManager, IntegrationTestCase, PostgresTestCase, RedisTestCase
import logging
logging.basicConfig(format="{message}", style="{", level=logging.INFO)

class Tests(%s):
    def test_it(self):
        pass
"""

COUNT = """
import json, os, pathlib, tempfile
from containertest import ContainerManager, IntegrationTestCase

containers = ContainerManager()
setUpModule, tearDownModule = containers.start, containers.stop

class Tests(IntegrationTestCase):
    containers = containers

    def test_it(self):
        self.assertEqual(self.redis.incr("tests"), 1)
        servers = [path for path in pathlib.Path(tempfile.gettempdir()).glob("containertest-*/*/state.json")]
        self.assertEqual(len(servers), 1)
        state = json.loads(servers[0].read_text())
        started = pathlib.Path("started")
        started.write_text("\\n".join(sorted(state["handles"])))
        ports = f"{containers.postgres.port} {containers.redis.port}"
        before = pathlib.Path("ports").read_text() if os.path.exists("ports") else ports
        self.assertEqual(ports, before)
        pathlib.Path("ports").write_text(ports)
"""


class StartTests:
    """What is started; the decorator makes a class for each backend."""

    backend = ""

    def test_classes_for_one_server_start_only_that(self: Any) -> None:
        for base, started in (("PostgresTestCase", "PostgreSQL"), ("RedisTestCase", "Redis")):
            with self.subTest(base):
                project = Project(self, test_it=NEEDS % base)
                run = project.run(CONTAINERTEST_BACKEND=self.backend)
                self.assertEqual(run.status, 0, run.output)
                lines = [line for line in run.output.splitlines() if f" on {self.backend}" in line]
                self.assertRegex("\n".join(lines), rf"^{started} \S+ on {self.backend}$")

    def test_default_manager_serves_classes_that_name_none(self: Any) -> None:
        project = Project(self, test_it=NEEDS % "IntegrationTestCase")
        run = project.run(CONTAINERTEST_BACKEND=self.backend)
        self.assertEqual(run.status, 0, run.output)
        self.assertRegex(run.output, rf"PostgreSQL \S+ on {self.backend}, Redis \S+ on {self.backend}\n")

    def test_fifty_modules_start_the_servers_once(self: Any) -> None:
        project = Project(self, **{f"test_{number}": COUNT for number in range(50)})
        run = project.run(CONTAINERTEST_BACKEND=self.backend)
        self.assertEqual(run.status, 0, run.output)
        self.assertIn("Ran 50 tests", run.output)
        self.assertEqual(len((project.folder / "started").read_text().splitlines()), 2)


support.on_every_backend(StartTests)


if __name__ == "__main__":
    unittest.main()
