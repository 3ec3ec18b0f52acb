"""The test cases under each runner: what a test begins with, its class's fixtures, and where a leak is seen."""

from __future__ import annotations

import re
import subprocess
import sys
import unittest
from typing import ClassVar

from tests import support
from tests.integration.user_project import Project, Run
from tests.support import TOP, clean_environment, run_python

PYTEST = ("-m", "pytest", "-p", "no:cacheprovider", "-q")
PARALLEL = ("-m", "unittest_parallel", "-j", "2", "--level")

BASE = """
    from containertest import ContainerManager, IntegrationTestCase

    containers = ContainerManager(migrations="schema.sql")

    class Base(IntegrationTestCase):
        containers = containers

        def add(self, name):
            with self.db.cursor() as cursor:
                cursor.execute("INSERT INTO t (name) VALUES (%s)", (name,))
            self.redis.incr("added")

        def check(self, *names):
            with self.db.cursor() as cursor:
                cursor.execute("SELECT id, name FROM t ORDER BY id")
                found = cursor.fetchall()
            self.assertEqual([name for _, name in found], list(names))
            self.assertEqual([id for id, _ in found], list(range(1, len(names) + 1)))
            self.assertEqual(int(self.redis.get("added") or 0), len(names))
"""


class RunnerCase(unittest.TestCase):
    """Runs projects on a backend that is there: none of this depends on which one it is."""

    backend: ClassVar[str]

    @classmethod
    def setUpClass(cls) -> None:
        support.require_any()
        cls.backend = next(name for name in reversed(support.BACKENDS) if not support.why_not(name))

    def project(self, **files: str) -> Project:
        project = Project(self, base=BASE, **files)
        project.write("schema.sql", "CREATE TABLE t (id serial PRIMARY KEY, name text);")
        return project

    def run_in(self, project: Project, *arguments: str, **variables: str) -> Run:
        return project.run(*arguments, CONTAINERTEST_BACKEND=self.backend, **variables)

    def passes(self, project: Project, *arguments: str, tests: int, **variables: str) -> Run:
        run = self.run_in(project, *arguments, **variables)
        self.assertEqual(run.status, 0, run.output)
        self.assertRegex(run.output, rf"Ran {tests} tests?|{tests} passed")
        return run


class PytestFixtureTests(RunnerCase):
    CONFTEST = """
        import pytest

        @pytest.fixture(autouse=True)
        def of_project(request):
            request.instance.add("conftest")
    """
    EVERY_KIND = """
        import pytest
        from base import Base, containers

        setUpModule, tearDownModule = containers.start, containers.stop

        @pytest.fixture(autouse=True, scope="module")
        def once():
            yield

        @pytest.fixture(autouse=True)
        def of_module(request, once):
            request.instance.add("module")

        @pytest.fixture
        def used(request):
            request.instance.add("used")

        @pytest.mark.usefixtures("used")
        class Tests(Base):
            @pytest.fixture(autouse=True)
            def of_class(self):
                self.add("class")
                yield
                self.add("after the test")

            def setup_method(self, method):
                self.add("setup_method")

            def setUp(self):
                self.add("setUp")

            def test_1(self):
                self.check("conftest", "module", %s"setUp")
                self.add("test")

            test_2 = test_3 = test_1

        class Data(Base):
            @classmethod
            def setUpTestData(cls):
                cls().add("data")

            def test_1(self):
                self.check("data", "conftest", "module")

            test_2 = test_1

        class OnlySetupMethod(Base):
            def setup_method(self, method):
                self.add("setup_method")

            def test_1(self):
                self.check("conftest", "module", "setup_method")

            test_2 = test_1
    """

    def test_baseline_is_there_before_the_first_fixture_of_any_kind(self) -> None:
        module = self.EVERY_KIND % '"class", "setup_method", "used", '
        project = self.project(conftest=self.CONFTEST, test_it=module)
        # pytest has the order of fixtures of one scope from their names.
        found = self.run_in(project, *PYTEST)
        order = re.search(r"Lists differ: \['conftest', 'module', (.*), 'setUp'\] !=", found.output)
        if order:
            names = order.group(1).replace("'", '"')
            self.assertEqual(sorted(names.split(", ")), ['"class"', '"setup_method"', '"used"'])
            project.write("test_it.py", self.EVERY_KIND % f"{names}, ")
        for arguments in (PYTEST, (*PYTEST, "-n", "2"), (*PYTEST, "-W", "error")):
            with self.subTest(arguments):
                self.passes(project, *arguments, tests=7)

    def test_without_the_plugin_tests_begin_at_setUp(self) -> None:
        module = """
            from base import Base

            class Tests(Base):
                def setUp(self):
                    self.add("setUp")

                def test_1(self):
                    self.check("setUp")

                test_2 = test_1
        """
        project = self.project(test_it=module)
        self.passes(project, *PYTEST, "-p", "no:containertest", tests=2)
        self.passes(project, *PYTEST, tests=2, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")

    def test_skipped_tests_with_fixtures_start_no_server(self) -> None:
        module = """
            import unittest, pytest
            from base import Base

            @pytest.fixture(autouse=True)
            def some():
                pass

            class Tests(Base):
                setUpClass = classmethod(lambda cls: None)

                @unittest.skip("a method")
                def test_1(self): ...

            @unittest.skip("a class")
            class Skipped(Base):
                def test_1(self): ...

            class Other(unittest.TestCase):
                def test_1(self):
                    import sys
                    assert "containertest.servers.stack" not in sys.modules
        """
        run = self.run_in(self.project(test_it=module), *PYTEST)
        self.assertIn("1 passed, 2 skipped", run.output)

    def test_fixture_of_pytest_keeps_its_connection_until_its_own_end(self) -> None:
        module = """
            import psycopg2, pytest
            from base import Base, containers

            setUpModule, tearDownModule = containers.start, containers.stop

            @pytest.fixture(autouse=True)
            def connection(request):
                connection = psycopg2.connect(containers.postgres.url)
                connection.cursor().execute("SELECT 1")
                yield
                connection.cursor().execute("SELECT 1")
                connection.close()

            class Tests(Base):
                def test_1(self): ...
                def test_2(self): ...
        """
        project = self.project(test_it=module)
        for variables in ({}, {"CONTAINERTEST_STRICT": "1"}):
            run = self.passes(project, *PYTEST, "-W", "error", tests=2, **variables)
            self.assertNotIn("ResourceWarning", run.output)

    def test_plugin_loads_nothing_where_no_class_is_ours(self) -> None:
        done = run_python(
            """
            import sys, pytest
            before = set(sys.modules)
            import containertest.pytest_plugin
            print(sorted(name for name in set(sys.modules) - before if "containertest" in name))
            """
        )
        self.assertEqual(done.stdout.strip(), "['containertest', 'containertest.pytest_plugin']", done.stderr)
        project = self.project(test_it="import sys\ndef test():\n    assert 'containertest.case' not in sys.modules\n")
        self.passes(project, *PYTEST, tests=1)


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


class HypothesisTests(RunnerCase):
    MODULE = """
        from hypothesis import given, settings, strategies as st
        from base import Base

        seen = []

        class Plain(Base):
            @settings(max_examples=20, deadline=None, database=None)
            @given(st.integers(), st.sampled_from("ab"))
            def test_example(self, number, name):
                self.check()
                self.add(name)
                self.check(name)
                with self.db.cursor() as cursor:
                    cursor.execute("CREATE TABLE IF NOT EXISTS made (id int)") if number == 0 else None

            def test_next(self):
                self.check()

        class WithSetUp(Base):
            @classmethod
            def setUpTestData(cls):
                cls().add("data")

            def setUp(self):
                self.add("setUp")

            @settings(max_examples=20, deadline=None, database=None)
            @given(st.sampled_from("ab"))
            def test_example(self, name):
                self.check("data", "setUp")
                self.add(name)
                self.check("data", "setUp", name)

            def test_next(self):
                self.check("data", "setUp")

        class After(Base):
            def test_nothing_is_there(self):
                self.check()
    """

    def test_each_example_begins_with_what_the_test_began_with(self) -> None:
        project = self.project(test_it=self.MODULE)
        for runner in (("-m", "unittest"), PYTEST, (*PARALLEL, "test"), (*PYTEST, "-p", "no:containertest")):
            with self.subTest(runner):
                self.passes(project, *runner, tests=5)

    def test_fixtures_of_pytest_are_there_in_each_example(self) -> None:
        module = """
            import pytest
            from hypothesis import given, settings, strategies as st
            from base import Base

            class Tests(Base):
                @pytest.fixture(autouse=True)
                def of_class(self):
                    self.add("fixture")

                @settings(max_examples=20, deadline=None, database=None)
                @given(st.sampled_from("ab"))
                def test_1(self, name):
                    self.check("fixture")
                    self.add(name)

                def test_2(self):
                    self.check("fixture")
        """
        self.passes(self.project(test_it=module), *PYTEST, tests=2)

    def test_failing_example_is_found_and_replayed_from_the_same_state(self) -> None:
        module = """
            from hypothesis import given, settings, strategies as st
            from base import Base

            class Tests(Base):
                @settings(deadline=None, database=None)
                @given(st.integers(0, 1000))
                def test_1(self, number):
                    self.check()
                    self.add(str(number))
                    self.assertNoRow("t", name="7" if number == 7 else "none")
                    self.assertLess(number, 500)
        """
        run = self.run_in(self.project(test_it=module), "-m", "unittest")
        self.assertEqual(run.status, 1)
        self.assertNotIn("Flaky", run.output)
        self.assertRegex(run.output, r"number=500")


if __name__ == "__main__":
    unittest.main()
