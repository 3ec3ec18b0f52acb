"""Any number of processes of one run share one PostgreSQL; each has its own database and its own Redis."""

from __future__ import annotations

import os
import sys
from typing import Any

from tests.integration.runs import Runs, values
from tests.support import on_every_backend

#: How many runs of sixteen workers: CI does 20. Containers take longer, and are tried a fifth as often.
ROUNDS = int(os.environ.get("CT_TESTS_ROUNDS", "3"))


@on_every_backend
class Workers(Runs):
    """Workers of test runners. Each test of the project waits until all of them have come: see recorder.py."""

    WORKERS = 2

    def check(self, *arguments: str, **variables: str) -> str:
        """Run the project's tests; return what the runner said."""
        done = self.run_child(*arguments, CT_WORKERS=str(self.WORKERS), **variables)
        records = self.read("records")
        self.assertEqual(len(values(records, "postgres")), 1, records)
        self.assertEqual(len(values(records, "pid")), self.WORKERS, records)
        by_worker = {str([found["pid"], found["database"], found["redis"]]) for found in records}
        self.assertEqual(len(by_worker), self.WORKERS, records)
        for own in ("database", "redis"):
            self.assertEqual(len(values(records, own)), self.WORKERS, records)
        self.assertEqual(len(self.read("migrations")), 1)
        self.assertEqual(values(records, "migrated"), {"1"})
        return done.stdout + done.stderr

    def check_unittest_parallel(self, level: str) -> None:
        said = self.check("-m", "unittest_parallel", "-j", str(self.WORKERS), "--level", level, "-p", "test_[fs]*.py")
        self.assertIn("Ran 4 tests", said)

    def test_unittest_parallel_by_modules(self) -> None:
        self.check_unittest_parallel("module")

    def test_unittest_parallel_by_classes(self) -> None:
        self.check_unittest_parallel("class")

    def test_unittest_parallel_by_tests(self) -> None:
        self.check_unittest_parallel("test")

    def test_pytest_with_workers(self) -> None:
        said = self.check(
            "-m", "pytest", "-q", "-n", str(self.WORKERS), "-p", "no:cacheprovider", "test_first.py", "test_second.py"
        )
        self.assertIn("4 passed", said)

    def test_django_runner_runs_ours_and_its_own_side_by_side(self) -> None:
        run = ("-m", "containertest", "run", "--", sys.executable, "manage.py", "test", "--parallel", str(self.WORKERS))
        said = self.check(*run)
        self.assertIn("Ran 6 tests", said)
        own = self.read("django")
        self.assertEqual(len(values(own, "database")), len(values(own, "pid")), own)
        self.assertEqual(values(own, "port"), {str(found["postgres"][0]) for found in self.read("records")})


@on_every_backend
class SixteenWorkers(Runs):
    """Sixteen processes that all start at the same moment; in each round a new run."""

    WORKERS = 16

    def test_they_share_one_server_one_migration_and_have_sixteen_databases(self) -> None:
        rounds = ROUNDS if self.backend == "local" else max(1, ROUNDS // 5)
        done = self.run_child("many.py", str(rounds), str(self.WORKERS))
        self.assertEqual(done.stderr, "")
        records = self.read("records")
        for number in range(rounds):
            with self.subTest(round=number):
                found = [record for record in records if record["round"] == number]
                self.assertEqual(len(found), self.WORKERS)
                self.assertEqual([record["servers"] for record in found if record["servers"] is not None], [1])
                for own in ("pid", "database", "redis"):
                    self.assertEqual(len(values(found, own)), self.WORKERS, own)
                for common in ("postgres", "migrated"):
                    self.assertEqual(len(values(found, common)), 1, common)
        self.assertEqual(len(self.read("migrations")), rounds)


#: Starts another process with the same code, which has servers running then.
ATTACHING = """
import subprocess, sys
from containertest import ContainerManager
manager = ContainerManager().start()
if sys.argv[1:]:
    subprocess.run([sys.executable, "-c", sys.argv[1]], check=True)
else:
    manager.postgres.connection.cursor().execute("SELECT 1")
    print([name for name in ("docker", "testcontainers", "requests", "redis") if name in sys.modules])
    manager.redis.client.set("a", "b")
    manager.reset_all()
    print(manager.redis.client.dbsize())
"""


@on_every_backend
class Attaching(Runs):
    def test_it_loads_no_library_of_docker_and_that_of_redis_only_when_it_is_used(self) -> None:
        done = self.run_child("-c", ATTACHING, ATTACHING)
        self.assertEqual(done.stdout.split("\n"), ["[]", "0", ""])


@on_every_backend
class Processes(Runs):
    """Processes that a process of the run starts by itself, one after the other: see processes.py."""

    found: list[dict[str, Any]]
    said: str

    def setUp(self) -> None:
        super().setUp()
        self.said = self.run_child("-X", "dev", "-W", "error", "processes.py").stderr
        self.found = self.read("records")

    def test_each_has_its_own_and_what_the_dead_had_is_used_again(self) -> None:
        ways = [found["way"] for found in self.found]
        self.assertEqual(
            ways,
            [
                "threads",
                "spawn",
                "fork",
                "forkserver",
                "executor",
                "subprocess",
                "os.fork",
                "short",
                "short",
                "short",
                "parent",
            ],
        )
        parents, children = self.parted()
        self.assertEqual((len(values(parents, "database")), len(values(children, "database"))), (1, 1), self.found)
        self.assertEqual((len(values(parents, "redis")), len(values(children, "redis"))), (1, 1), self.found)
        self.assertNotEqual(values(parents, "database"), values(children, "database"))
        self.assertNotEqual(values(parents, "redis"), values(children, "redis"))
        self.assertEqual(len(values(children, "pid")), 9)
        # One server, as counted by the engine or the kernel and as the processes see it.
        self.assertEqual(self.found[-1]["servers"], 1)
        self.assertEqual(len(values(self.found, "postgres")), 1)
        # The migrations ran once, in the first process.
        self.assertEqual(values(self.read("migrations"), "pid"), values(parents, "pid"))
        self.assertEqual((len(self.read("migrations")), values(self.found, "migrated")), (1, {"1"}))
        # Attaching needs no Docker library.
        fresh = [found for found in children if found["way"] in ("subprocess", "short")]
        self.assertEqual(values(fresh, "docker_loaded"), {"False"})
        # No warning of a connection left open or a process still running.
        self.assertEqual(self.said, "")

    def parted(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        of_parent = ("threads", "parent")
        return (
            [found for found in self.found if found["way"] in of_parent],
            [found for found in self.found if found["way"] not in of_parent],
        )
