"""A server that dies costs the test under way, which says so; the next one gets a new server, and the run goes on."""

from __future__ import annotations

import contextlib
import unittest
from typing import Any

import psycopg2

from containertest import ContainerManager, IntegrationTestCase, Postgres, Redis
from tests.integration.crash import killing, marks
from tests.integration.crash.run import WORKERS, Run
from tests.support import on_every_backend, run_case

SCHEMA = """
    CREATE TABLE things (id serial PRIMARY KEY, name text NOT NULL);
    INSERT INTO things (name) VALUES ('migrated');
"""

#: A line for each time that the migrations have run.
migrated: list[str] = []


def migrate(url: str) -> None:
    migrated.append(url)
    with contextlib.closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(SCHEMA)


class Servers:
    """Servers of these tests alone, and how to kill them."""

    def __init__(self, backend: str) -> None:
        # Options of its own make it a server that no other test uses.
        options = {"cluster_name": "death"}, {"maxmemory-samples": "7"}
        self.manager = ContainerManager(
            Postgres(options=options[0]), Redis(options=options[1]), migrations=migrate, backend=backend
        )

    def pid(self, service: str) -> int:
        """The pid of a server on this machine."""
        running = getattr(self.manager, service)
        if running.backend == "local":
            return int(running.lease.server.handle["process"][0])
        with docker_client() as api:
            return int(api.inspect_container(running.lease.server.handle["id"])["State"]["Pid"])

    def kill(self, service: str) -> None:
        killing.kill_server(self.pid(service))

    def kill_backend(self, number: int) -> None:
        killing.kill_postgres_process(self.pid("postgres"), number)


def docker_client() -> Any:
    import docker

    return contextlib.closing(docker.APIClient())


@on_every_backend
class Death:
    """What each backend's servers do when they are killed."""

    backend: str

    def setUp(self: Any) -> None:
        self.servers = Servers(self.backend)
        self.manager = self.servers.manager.start()
        self.addCleanup(self.manager.stop)

    def case(self: Any) -> type[Any]:
        """A test class with data of its own; `check` makes sure of the baseline, and writes."""
        servers = self.servers

        class Inner(IntegrationTestCase):
            containers = servers.manager

            @classmethod
            def setUpTestData(cls) -> None:
                with cls.db.cursor() as cursor:
                    cursor.execute("INSERT INTO things (name) VALUES ('of the class')")
                cls.redis.set("of the class", 1)

            def check(self) -> None:
                self.assertRowCount("things", 2)
                self.assertRowExists("things", id=2, name="of the class")
                self.assertEqual(sorted(self.redis.keys()), [b"of the class"])
                self.query("INSERT INTO things (name) VALUES ('of a test')")
                self.redis.set("of a test", 1)

            def query(self, statement: str) -> None:
                with self.db.cursor() as cursor:
                    cursor.execute(statement)

            def use(self, service: str) -> None:
                self.redis.ping() if service == "redis" else self.query("SELECT 1")

            def test_1(self) -> None:
                self.check()

            def test_3(self) -> None:
                self.check()

            def test_4(self) -> None:
                self.check()

        return Inner

    def assert_died(self: Any, result: unittest.TestResult, service: str) -> None:
        """One test has failed, with the last log lines of the server."""
        self.assertEqual(len(result.errors) + len(result.failures), 1, result.errors + result.failures)
        ((_, text),) = result.errors
        title, log = {
            "postgres": ("PostgreSQL", "database system is ready to accept connections"),
            "redis": ("Redis", "eady to accept connections"),
        }[service]
        self.assertIn(f"ServerDied: {title} on {self.backend} ended while a test was using it.", text)
        self.assertRegex(text, rf"\n  \| .*{log}")
        self.assertNotIn(self.manager.postgres.password, text)

    def test_server_killed_in_a_test_fails_it_and_the_next_has_a_new_one(self: Any) -> None:
        for service in ("postgres", "redis"):
            with self.subTest(service):
                servers, before = self.servers, self.servers.pid(service)

                class Inner(self.case()):  # type: ignore[misc,name-defined]
                    def test_2(self) -> None:
                        self.check()
                        servers.kill(service)  # noqa: B023
                        self.use(service)  # noqa: B023

                result = run_case(Inner)
                self.assertEqual(result.testsRun, 4)
                self.assert_died(result, service)
                self.assertNotEqual(self.servers.pid(service), before)

    def test_server_killed_between_two_tests_fails_none(self: Any) -> None:
        for service in ("postgres", "redis"):
            with self.subTest(service):
                servers = self.servers

                class Inner(self.case()):  # type: ignore[misc,name-defined]
                    def test_2(self) -> None:
                        servers.kill(service)  # noqa: B023

                with self.assertLogs("containertest", "WARNING") as logged:
                    result = run_case(Inner)
                self.assertTrue(result.wasSuccessful(), result.errors + result.failures)
                self.assertIn(" ended while ", "".join(logged.output))

    def test_server_killed_between_two_classes_fails_none(self: Any) -> None:
        self.assertTrue(run_case(self.case()).wasSuccessful())
        self.servers.kill("postgres")
        result = run_case(self.case())
        self.assertTrue(result.wasSuccessful(), result.errors + result.failures)

    def test_both_servers_killed_cost_one_test(self: Any) -> None:
        servers = self.servers

        class Inner(self.case()):  # type: ignore[misc,name-defined]
            def test_2(self) -> None:
                servers.kill("redis")
                servers.kill("postgres")
                self.use("postgres")

        self.assert_died(run_case(Inner), "postgres")

    def test_death_that_code_under_test_hides_is_told_all_the_same(self: Any) -> None:
        servers = self.servers

        class Inner(self.case()):  # type: ignore[misc,name-defined]
            def test_2(self) -> None:
                servers.kill("postgres")
                status = 200
                try:
                    self.use("postgres")
                except psycopg2.Error:
                    status = 500
                self.assertEqual(status, 200)

        self.assert_died(run_case(Inner), "postgres")

    def test_server_killed_in_setUpTestData_fails_the_class_and_not_the_next(self: Any) -> None:
        servers = self.servers

        class Inner(self.case()):  # type: ignore[misc,name-defined]
            @classmethod
            def setUpTestData(cls) -> None:
                servers.kill("postgres")
                super().setUpTestData()

        self.assert_died(run_case(Inner), "postgres")
        result = run_case(self.case())
        self.assertTrue(result.wasSuccessful(), result.errors + result.failures)

    def test_migrations_run_once_more_for_a_new_server(self: Any) -> None:
        self.servers.kill("postgres")
        migrated.clear()
        result = run_case(self.case())
        self.assertTrue(result.wasSuccessful(), result.errors + result.failures)
        self.assertEqual(len(migrated), 1)

    def test_one_terminated_backend_is_not_the_death_of_the_server(self: Any) -> None:
        class Inner(self.case()):  # type: ignore[misc,name-defined]
            def test_2(self) -> None:
                self.query("SELECT pg_terminate_backend(pg_backend_pid())")

        self.assert_lives_on(Inner)

    def test_one_killed_backend_is_not_the_death_of_the_server(self: Any) -> None:
        servers = self.servers

        class Inner(self.case()):  # type: ignore[misc,name-defined]
            def test_2(self) -> None:
                with self.db.cursor() as cursor:
                    cursor.execute("SELECT pg_backend_pid()")
                    servers.kill_backend(cursor.fetchone()[0])
                    cursor.execute("SELECT 1")

        self.assert_lives_on(Inner)

    def test_killed_backend_of_somebody_else_fails_no_later_test(self: Any) -> None:
        servers, before = self.servers, self.servers.pid("postgres")

        class Inner(self.case()):  # type: ignore[misc,name-defined]
            def test_2(self) -> None:
                servers.kill_backend(self.connect().info.backend_pid)

        result = run_case(Inner)
        self.assertTrue(result.wasSuccessful(), result.errors + result.failures)
        self.assertEqual(self.servers.pid("postgres"), before)

    def test_killed_backend_between_two_classes_fails_none(self: Any) -> None:
        self.assertTrue(run_case(self.case()).wasSuccessful())
        before = self.servers.pid("postgres")
        self.servers.kill_backend(self.manager.postgres.connection.info.backend_pid)
        result = run_case(self.case())
        self.assertTrue(result.wasSuccessful(), result.errors + result.failures)
        self.assertEqual(self.servers.pid("postgres"), before)

    def assert_lives_on(self: Any, case: type[unittest.TestCase]) -> None:
        before = self.servers.pid("postgres")
        result = run_case(case)
        self.assertEqual((result.testsRun, len(result.errors)), (4, 1), result.errors + result.failures)
        self.assertIn("psycopg2.", result.errors[0][1])
        self.assertNotIn("ServerDied", result.errors[0][1])
        self.assertEqual(self.servers.pid("postgres"), before)

    def test_all_workers_find_the_new_server_and_migrations_run_once_for_it(self: Any) -> None:
        engine = None
        if self.backend == "docker":
            import docker

            engine = docker.APIClient()
            self.addCleanup(engine.close)
        with Run(self.backend, "test", engine=engine) as run:
            run.start(WORKERS)
            run.wait_until_reached(2)
            killing.kill_server(run.server("postgres"))
            marks.release(run.marks)
            self.assertEqual(run.wait(), 1, run.said())
            self.assertEqual(run.said().count("ServerDied: PostgreSQL"), 2, run.said())
            self.assertEqual(run.said().count("Its last log lines:\n  | "), 2, run.said())
            # Not with "FAILED": unittest writes that by itself, and the two share a file.
            self.assertEqual(run.said().count("(errors=1)"), 2, run.said())
            self.assertEqual((run.marks / "migrated").read_text(), "once\n" * 2)
            run.wait_until_gone()

    def test_server_killed_during_migrations_is_told_as_such(self: Any) -> None:
        with Run(self.backend, "migrations") as run:
            run.start()
            run.wait_until_reached()
            if self.backend == "docker":
                with docker_client() as run.evidence.engine:
                    pid = run.server("postgres")
            else:
                pid = run.server("postgres")
            killing.kill_server(pid)
            marks.release(run.marks)
            self.assertEqual(run.wait(), 1, run.said())
            self.assertIn(f"ServerDied: PostgreSQL on {self.backend} ended while its databases were made", run.said())
            self.assertIn("database system is ready to accept connections", run.said())
