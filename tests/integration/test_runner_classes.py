"""The fixtures of classes and modules under each runner, also where tests are run one by one."""

from __future__ import annotations

import subprocess
import sys
import unittest

from tests.integration.runner_case import PARALLEL, PYTEST, RunnerCase
from tests.support import TOP, clean_environment


class ClassFixtureTests(RunnerCase):
    POOL = """
        import psycopg2.pool
        from base import Base, containers

        events = open("events", "a", buffering=1)

        def setUpModule():
            containers.start()
            print("setUpModule", file=events)

        def tearDownModule():
            print("tearDownModule", file=events)
            containers.stop()

        class Tests(Base):
            @classmethod
            def setUpClass(cls):
                super().setUpClass()
                print("setUpClass", file=events)
                cls.pool = psycopg2.pool.SimpleConnectionPool(1, 2, containers.postgres.url)
                cls.addClassCleanup(cls.close)

            @classmethod
            def close(cls):
                print("close", file=events)
                cls.pool.closeall()

            def test_1(self):
                connection = self.pool.getconn()
                with connection, connection.cursor() as cursor:
                    cursor.execute("INSERT INTO t (name) VALUES ('x') RETURNING id")
                    self.assertEqual(cursor.fetchone(), (1,))
                self.pool.putconn(connection)

            test_2 = test_3 = test_1
    """

    def test_fixtures_of_class_and_module_run_under_every_runner(self) -> None:
        project = self.project(test_it=self.POOL)
        around = ["setUpModule", "setUpClass", "close", "tearDownModule"]
        for runner, times in (
            (("-m", "unittest"), 1),
            ((*PARALLEL, "module"), 1),
            ((*PARALLEL, "class"), 1),
            ((*PARALLEL, "test"), 3),
            (PYTEST, 1),
        ):
            with self.subTest(runner):
                (project.folder / "events").write_text("")
                self.passes(project, *runner, tests=3)
                self.assertEqual(sorted((project.folder / "events").read_text().split()), sorted(around * times))

    def test_class_fixtures_that_fail_or_skip_do_so_outside_of_a_suite_too(self) -> None:
        module = """
            import unittest
            from base import Base

            class Fails(Base):
                @classmethod
                def setUpClass(cls):
                    raise KeyError("no such thing")

                def test_1(self): ...

            class Skips(Base):
                @classmethod
                def setUpClass(cls):
                    raise unittest.SkipTest("not today")

                def test_1(self): ...
        """
        run = self.run_in(self.project(test_it=module), *PARALLEL, "test")
        self.assertEqual(run.status, 1, run.output)
        self.assertIn("no such thing", run.output)
        self.assertIn("FAILED (errors=1, skipped=1)", run.output)

    def test_sample_passes_at_each_level(self) -> None:
        for level in ("module", "class", "test"):
            with self.subTest(level):
                done = subprocess.run(
                    [sys.executable, *PARALLEL, level, "-s", "tests/sample", "-t", "."],
                    cwd=TOP,
                    env=clean_environment(CONTAINERTEST_BACKEND=self.backend),
                    capture_output=True,
                    text=True,
                    timeout=300,
                    check=False,
                )
                self.assertEqual(done.returncode, 0, done.stderr[-5000:])
                self.assertIn("\nOK", done.stderr)


if __name__ == "__main__":
    unittest.main()
