"""Where a leak is seen under each runner, and which test it fails."""

from __future__ import annotations

import re
import unittest
from typing import ClassVar

from tests.integration.runner_case import PARALLEL, PYTEST, RunnerCase


class LeakTests(RunnerCase):
    LEAK = """
        import psycopg2
        from base import Base, containers

        setUpModule, tearDownModule = containers.start, containers.stop
        left = []

        class Tests(Base):
            def leak(self):
                connection = psycopg2.connect(containers.postgres.url)
                connection.cursor().execute("SELECT 'left open'")
                left.append(connection)

            def test_1_innocent(self): ...

            def test_2_leaks(self):
                self.leak()

            def test_3_innocent(self): ...

            def test_4_leaks_as_the_last(self):
                self.leak()

        class Other(Base):
            def test_5_innocent(self): ...
    """
    LINES: ClassVar = {"2_leaks": 16, "4_leaks_as_the_last": 21}

    def test_leak_is_seen_under_every_runner_at_the_place_of_its_test(self) -> None:
        project = self.project(test_it=self.LEAK)
        runners: tuple[tuple[str, ...], ...] = (
            ("-m", "unittest"),
            ("run.py",),
            *((*PARALLEL, level) for level in ("module", "class", "test")),
            PYTEST,
            (*PYTEST, "-n", "2"),
            (*PYTEST, "-p", "no:containertest"),
        )
        project.write("run.py", "import unittest\nunittest.main('test_it', warnings=False)\n")
        for runner in runners:
            with self.subTest(runner):
                run = self.run_in(project, *runner)
                self.assertEqual(run.status, 0, run.output)
                for name, line in self.LINES.items():
                    where = rf"test_it\.py:{line}: ResourceWarning: test_it\.Tests\.test_{name}: .*'left open'"
                    self.assertEqual(len(re.findall(where, run.output)), 1, run.output)

    def test_pytest_names_the_test_that_left_it(self) -> None:
        run = self.run_in(self.project(test_it=self.LEAK), *PYTEST)
        for name in self.LINES:
            self.assertRegex(run.output, rf"\ntest_it.py::Tests::test_{name}\n  \S+test_it.py:\d+: ResourceWarning")

    def test_leak_as_an_error_fails_its_own_test_and_no_other(self) -> None:
        project = self.project(test_it=self.LEAK)
        parallel = [(*PARALLEL, level) for level in ("class", "test")]
        pytest = [PYTEST, (*PYTEST, "-n", "2"), (*PYTEST, "-p", "no:containertest")]
        for runner in (("-m", "unittest"), *parallel, *pytest):
            option = ("-W", "error")
            with self.subTest(runner):
                run = self.run_in(project, *((*runner, *option) if "pytest" in runner else (*option, *runner)))
                self.assertNotEqual(run.status, 0)
                failed = re.findall(
                    r"^(?:(?:ERROR|FAILED):? (?:test_it.py::Tests::)?)?(test_\w+) [(-]", run.output, re.M
                )
                self.assertEqual(sorted(failed), [f"test_{name}" for name in self.LINES], run.output)
                if "unittest" in runner:
                    self.assertNotIn("containertest/", run.output)

    def test_user_who_hides_resource_warnings_sees_none(self) -> None:
        project = self.project(test_it=self.LEAK)
        hide = ("-W", "ignore::ResourceWarning")
        for arguments in ((*hide, "-m", "unittest"), (*PYTEST, *hide)):
            with self.subTest(arguments):
                self.assertNotIn("left open", self.passes(project, *arguments, tests=5).output)

    def test_fixture_of_a_class_is_to_blame_for_what_it_left(self) -> None:
        module = self.LEAK.replace(
            "class Other(Base):",
            """class Other(Base):
            @classmethod
            def setUpClass(cls):
                super().setUpClass()
                Tests().leak()
            """,
        ).replace("self.leak()", "pass")
        run = self.run_in(self.project(test_it=module), "-m", "unittest")
        self.assertRegex(run.output, r"ResourceWarning: test_it\.Other\.setUpClass: .*'left open'")


if __name__ == "__main__":
    unittest.main()
