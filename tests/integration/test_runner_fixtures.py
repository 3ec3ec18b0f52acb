"""What a test begins with under pytest: the baseline is there before its first fixture."""

from __future__ import annotations

import re
import unittest

from tests.integration.runner_case import PYTEST, RunnerCase
from tests.support import run_python


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


if __name__ == "__main__":
    unittest.main()
