"""What the TestCase classes put around tests: inner TestCases are run on a fake stack."""

from __future__ import annotations

import inspect
import io
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import containertest
from containertest import IntegrationTestCase, PostgresTestCase, RedisTestCase
from containertest.errors import ConfigError, FixtureError, NotStarted, ServerDied
from containertest.servers.levels import Level
from containertest.servers.stack import Stack
from tests.support import run_case, run_python


class FakeStack(Stack):
    """Notes what is asked of it. ``deaths``: how many resets are met by a dead server."""

    def __init__(self) -> None:
        self.settings: Any = SimpleNamespace(strict=False, keep_failed=False, startup_timeout=1)
        super().__init__(cast(Any, SimpleNamespace(key="", settings=self.settings, postgres=None, redis=None)))
        self.calls: list[str] = []
        self.deaths = 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        try:
            yield
        except ConnectionError as error:
            self.calls.append("replace")
            raise ServerDied("PostgreSQL ended") from error

    def reset_all(self) -> None:
        self.calls.append("reset")
        if self.deaths:
            self.deaths -= 1
            raise ServerDied("PostgreSQL ended")

    def _pop(self, depth: int) -> None:
        self.calls.append(f"pop to {depth}")
        del self._levels[depth:]

    def _take(self, level: Level) -> None:
        self.calls.append(f"push {len(self._levels)}")
        self._levels[-1] = level

    def load_fixtures(self, paths: Any, folders: Any) -> None:
        self.calls.append(f"fixtures {' '.join(map(str, paths))}")
        if "broken.sql" in paths:
            raise FixtureError("broken.sql, line 1")

    def keep(self, test: str) -> None:
        self.calls.append(f"keep {test.rpartition('.')[2]}")


class FakeManager:
    def __init__(self) -> None:
        self.stack = FakeStack()
        self.postgres = SimpleNamespace(connection="the connection", connect=lambda **kw: SimpleNamespace(close=print))
        self.redis = SimpleNamespace(client="the client")

    def start(self) -> FakeManager:
        return self


class CaseCase(unittest.TestCase):
    def setUp(self) -> None:
        self.manager: Any = FakeManager()
        self.stack = self.manager.stack

    @property
    def calls(self) -> list[str]:
        calls: list[str] = self.stack.calls
        return calls

    def passes(self, case: type[unittest.TestCase], *names: str) -> unittest.TestResult:
        result = run_case(case, *names)
        self.assertEqual(result.errors + result.failures, [])
        return result

    def base(self, *more: type) -> Any:
        """A base for inner test cases that use the fake, and write into ``calls`` by ``self.note``."""
        stack = self.stack

        class Base(IntegrationTestCase, *more):  # type: ignore[misc]
            containers = self.manager

            def note(self, text: str) -> None:
                stack.calls.append(text)

        return Base


class BaselineTests(CaseCase):
    def test_each_test_begins_at_the_baseline_without_super(self) -> None:
        class Tests(self.base()):  # type: ignore[misc]
            @classmethod
            def setUpClass(cls) -> None:
                pass

            def setUp(self) -> None:
                self.note("setUp")

            def tearDown(self) -> None:
                self.note("tearDown")

            def test_1(self) -> None:
                self.note("1")

            def test_2(self) -> None:
                self.note("2")

        self.passes(Tests)
        self.assertEqual(self.calls, ["reset", "setUp", "1", "tearDown", "reset", "setUp", "2", "tearDown"])

    def test_data_of_a_class_are_loaded_once_and_left_behind_with_it(self) -> None:
        class WithData(self.base()):  # type: ignore[misc]
            fixtures = ["a.sql"]

            @classmethod
            def setUpTestData(cls) -> None:
                self.calls.append(f"data {cls.db}, {cls.redis}")

            def test_1(self) -> None: ...
            def test_2(self) -> None: ...

        class Without(self.base()):  # type: ignore[misc]
            def test_3(self) -> None: ...
            def test_4(self) -> None: ...

        self.passes(WithData)
        loading = ["reset", "fixtures a.sql", "data the connection, the client", "push 1"]
        self.assertEqual(self.calls, [*loading, "reset", "reset"])
        self.calls.clear()
        self.passes(Without)
        self.assertEqual(self.calls, ["pop to 0", "reset", "reset", "reset"])

    def test_fixtures_of_base_classes_come_first_and_once(self) -> None:
        class Base(self.base()):  # type: ignore[misc]
            fixtures = ["a.sql", "b.sql"]

        class Tests(Base):
            fixtures = ["b.sql", "c.json"]

            def test(self) -> None: ...

        self.passes(Tests)
        self.assertEqual(self.calls[1:4], ["fixtures a.sql", "fixtures b.sql", "fixtures c.json"])

    def test_one_fixture_needs_no_list(self) -> None:
        for named in ("users.sql", Path("users.sql")):
            self.stack.calls.clear()

            class Tests(self.base()):  # type: ignore[misc]
                fixtures = named

                def test(self) -> None: ...

            with self.subTest(named=named):
                self.assertTrue(run_case(Tests).wasSuccessful())
                self.assertIn("fixtures users.sql", self.stack.calls)

    def test_subclass_that_inherits_data_loads_them_for_itself(self) -> None:
        class First(self.base()):  # type: ignore[misc]
            fixtures = ["a.sql"]

            def test(self) -> None: ...

        class Second(First):
            pass

        self.passes(First)
        self.passes(Second)
        self.assertEqual(self.calls.count("fixtures a.sql"), 2)

    def test_broken_data_fail_the_class_and_leave_the_others_whole(self) -> None:
        class Broken(self.base()):  # type: ignore[misc]
            fixtures = ["broken.sql"]

            def test(self) -> None:
                self.note("ran")

        result = run_case(Broken)
        self.assertIn("FixtureError: broken.sql, line 1", result.errors[0][1])
        self.assertEqual(self.calls, ["reset", "fixtures broken.sql"])
        self.calls.clear()
        self.stack.current()
        self.assertEqual(self.calls, ["pop to 0", "reset"])

    def test_fixtures_are_looked_for_beside_the_class_that_names_them(self) -> None:
        folders = self.base()._folders()
        self.assertEqual(folders, [Path(__file__).resolve().parent, Path.cwd()])


class WrappingTests(CaseCase):
    def test_skipped_tests_and_classes_touch_no_server(self) -> None:
        class Tests(self.base()):  # type: ignore[misc]
            setUpClass = classmethod(lambda cls: None)

            @unittest.skip("why not")
            def test(self) -> None: ...

        result = self.passes(Tests)
        self.assertEqual([reason for _, reason in result.skipped], ["why not"])
        self.assertEqual([reason for _, reason in self.passes(unittest.skip("all")(Tests)).skipped], ["all"])
        self.assertEqual(self.calls, [])

    def test_skip_in_set_up_and_in_the_test(self) -> None:
        class Tests(self.base()):  # type: ignore[misc]
            def setUp(self) -> None:
                if self._testMethodName == "test_1":
                    self.skipTest("one")

            def test_1(self) -> None: ...

            def test_2(self) -> None:
                raise unittest.SkipTest("two")

        self.assertEqual([reason for _, reason in self.passes(Tests).skipped], ["one", "two"])

    def test_expected_failure_stays_one(self) -> None:
        class Tests(self.base()):  # type: ignore[misc]
            @unittest.expectedFailure
            def test_1(self) -> None:
                self.fail()

            @unittest.expectedFailure
            def test_2(self) -> None: ...

        result = run_case(Tests)
        self.assertEqual((len(result.expectedFailures), len(result.unexpectedSuccesses)), (1, 1))

    def test_sub_tests_all_run_and_fail_by_themselves(self) -> None:
        class Tests(self.base()):  # type: ignore[misc]
            def test(self) -> None:
                for number in range(3):
                    with self.subTest("message", number=number):
                        self.assertEqual(number, 1)
                with self.subTest(msg="by keyword"):
                    pass
                with self.subTest():
                    pass

        result = run_case(Tests)
        self.assertEqual([str(test).rpartition(" ")[2] for test, _ in result.failures], ["(number=0)", "(number=2)"])

    def test_asynchronous_tests_are_wrapped(self) -> None:
        class Tests(self.base(unittest.IsolatedAsyncioTestCase)):  # type: ignore[misc]
            async def asyncSetUp(self) -> None:
                self.note("asyncSetUp")

            async def asyncTearDown(self) -> None:
                self.note("asyncTearDown")

            async def test(self) -> None:
                self.note("test")

            async def test_dead(self) -> None:
                raise ConnectionError

        self.passes(Tests, "test")
        self.assertEqual(self.calls, ["reset", "reset", "asyncSetUp", "test", "asyncTearDown"])
        (failure,) = run_case(Tests, "test_dead").errors
        self.assertIn("ServerDied: PostgreSQL ended", failure[1])

    def test_instance_is_as_before_after_the_test(self) -> None:
        class Tests(self.base()):  # type: ignore[misc]
            def test(self) -> None:
                self.made = 1

        test = Tests("test")
        before = dict(test.__dict__)
        test.run(unittest.TestResult())
        self.assertEqual({name for name in test.__dict__ if name in ("setUp", "tearDown", "test")}, set())
        self.assertEqual(test.made, 1)
        self.assertLessEqual(before.keys(), test.__dict__.keys())

    def test_method_that_pytest_puts_on_the_instance_stays_until_pytest_takes_it(self) -> None:
        """``TestCaseFunction.runtest`` of pytest sets it before the call and deletes it after."""

        class Tests(self.base()):  # type: ignore[misc]
            def test(self) -> None:
                raise AssertionError("pytest's is to be run")

        test = Tests("test")
        method = lambda: self.calls.append("pytest's")  # noqa: E731
        test.test = method
        result = unittest.TestResult()
        test(result)
        self.assertTrue(result.wasSuccessful())
        self.assertIs(test.test, method)
        del test.test
        self.assertEqual(self.calls, ["reset", "pytest's"])

    def test_debug_begins_at_the_baseline_and_lets_errors_through(self) -> None:
        class Tests(self.base()):  # type: ignore[misc]
            def test(self) -> None:
                raise KeyError

        with self.assertRaises(KeyError):
            Tests("test").debug()
        self.assertEqual(self.calls, ["reset"])

    def test_traceback_of_a_failure_shows_the_test_and_not_the_library(self) -> None:
        class Tests(self.base()):  # type: ignore[misc]
            def test(self) -> None:
                self.assertEqual(1, 2)

        ((_, text),) = run_case(Tests).failures
        self.assertIn("self.assertEqual(1, 2)", text)
        self.assertNotIn("containertest/case.py", text)

    def test_culprit_is_the_test_that_ran_last(self) -> None:
        class Tests(self.base()):  # type: ignore[misc]
            def test(self) -> None: ...

        self.passes(Tests)
        self.assertTrue(self.stack.culprit.endswith("Tests.test"))


class DeathTests(CaseCase):
    def test_server_that_died_between_classes_or_tests_fails_no_test(self) -> None:
        class Tests(self.base()):  # type: ignore[misc]
            def test_1(self) -> None:
                Tests.manager().stack.deaths = 1

            def test_2(self) -> None: ...

        self.stack.deaths = 1
        with self.assertLogs("containertest", "WARNING") as logged:
            self.passes(Tests)
        self.assertEqual(logged.output, ["WARNING:containertest:PostgreSQL ended"] * 2)
        self.assertEqual(self.calls, ["reset"] * 5)

    def test_death_in_any_part_of_a_test_fails_it_as_such(self) -> None:
        class Tests(self.base()):  # type: ignore[misc]
            part = ""

            def setUp(self) -> None:
                self.die("setUp")

            def tearDown(self) -> None:
                self.die("tearDown")

            def test(self) -> None:
                self.die("test")
                with self.subTest():
                    self.die("subTest")

            def die(self, part: str) -> None:
                if part == self.part:
                    raise ConnectionError

        for part in ("setUp", "test", "subTest", "tearDown"):
            with self.subTest(part):
                Tests.part = part
                self.calls.clear()
                ((_, text),) = run_case(Tests).errors
                self.assertIn("ServerDied: PostgreSQL ended", text)
                self.assertEqual(self.calls.count("replace"), 1)


class KeepTests(CaseCase):
    def setUp(self) -> None:
        super().setUp()
        self.stack.settings.keep_failed = True

    def test_database_of_each_kind_of_failure_is_kept(self) -> None:
        class Tests(self.base()):  # type: ignore[misc]
            def setUp(self) -> None:
                self.fail_in("setUp")

            def tearDown(self) -> None:
                self.fail_in("tearDown")

            def fail_in(self, part: str) -> None:
                if self._testMethodName.endswith(part):
                    self.fail()

            def test_in_setUp(self) -> None: ...

            def test_in_tearDown(self) -> None: ...

            def test_itself(self) -> None:
                raise KeyError

            def test_in_subTest(self) -> None:
                with self.subTest():
                    self.fail()

        for name in ("test_in_setUp", "test_in_tearDown", "test_itself", "test_in_subTest"):
            with self.subTest(name):
                self.calls.clear()
                self.assertFalse(run_case(Tests, name).wasSuccessful())
                self.assertEqual(self.calls[-1], f"keep {name}")

    def test_nothing_is_kept_of_others(self) -> None:
        class Tests(self.base()):  # type: ignore[misc]
            def test_passes(self) -> None: ...

            def test_skips(self) -> None:
                with self.subTest():
                    self.skipTest("part of it")
                self.skipTest("all")

            @unittest.expectedFailure
            def test_is_expected_to_fail(self) -> None:
                self.fail()

        run_case(Tests)
        self.assertFalse([call for call in self.calls if call.startswith("keep")])

    def test_database_is_kept_as_it_was_after_all_cleanups(self) -> None:
        class Tests(self.base()):  # type: ignore[misc]
            def test(self) -> None:
                self.addCleanup(self.note, "cleanup")
                self.fail()

        run_case(Tests)
        self.assertEqual(self.calls[-2:], ["cleanup", "keep test"])


class StrictTests(CaseCase):
    def test_reset_after_a_test_fails_that_test(self) -> None:
        self.stack.settings.strict = True

        class Tests(self.base()):  # type: ignore[misc]
            def test(self) -> None:
                self.addCleanup(setattr, Tests.manager().stack, "deaths", 1)

        self.assertEqual(len(run_case(Tests).errors), 1)


class SuiteTests(CaseCase):
    """A test that is called outside of any suite, as ``unittest-parallel --level test`` does it."""

    def test_fixtures_of_the_class_run_once_however_the_test_is_run(self) -> None:
        class Tests(self.base(unittest.IsolatedAsyncioTestCase)):  # type: ignore[misc]
            @classmethod
            def setUpClass(cls) -> None:
                super().setUpClass()
                self.calls.append("setUpClass")
                cls.addClassCleanup(self.calls.append, "cleanup")

            @classmethod
            def tearDownClass(cls) -> None:
                self.calls.append("tearDownClass")

            async def test(self) -> None:
                self.note("test")

        around = ["reset", "setUpClass", "reset", "test", "tearDownClass", "cleanup"]
        result = unittest.TestResult()
        for run in (Tests("test"), Tests("test"), unittest.TestSuite([Tests("test")])):
            with self.subTest(run=run):
                self.calls.clear()
                run(result)
                self.assertEqual(self.calls, around)
        self.assertEqual((result.testsRun, result.errors), (3, []))

    def test_result_that_is_not_unittests_says_that_another_runner_has_the_fixtures(self) -> None:
        class Tests(self.base()):  # type: ignore[misc]
            @classmethod
            def setUpClass(cls) -> None:
                self.calls.append("setUpClass")

            def test(self) -> None: ...

        Tests("test")(mock.Mock(spec=["startTest", "stopTest", "addSuccess"]))
        self.assertEqual(self.calls, ["reset"])


class ExampleTests(CaseCase):
    """What hypothesis calls before each example."""

    def examples(self, case: Any) -> list[str]:
        """The calls of a test that has three examples."""
        case.test = lambda test: [test.setup_example() for _ in range(3)] and None
        self.passes(case, "test")
        return self.calls

    def test_first_example_needs_no_second_reset(self) -> None:
        self.assertEqual(self.examples(self.base())[1:], ["reset"] * 3)

    def test_what_setUp_has_made_is_there_in_each_example_and_not_in_the_next_test(self) -> None:
        class Tests(self.base()):  # type: ignore[misc]
            def setUp(self) -> None:
                self.note("setUp")

            def test_next(self) -> None: ...

        self.assertEqual(self.examples(Tests)[1:], ["reset", "setUp", "push 1", "reset", "reset"])
        self.calls.clear()
        self.passes(Tests, "test_next")
        self.assertEqual(self.calls[0], "pop to 0")


class AttributeTests(CaseCase):
    def test_db_and_redis_are_the_managers(self) -> None:
        case = self.base()
        self.assertEqual((case.db, case.redis), ("the connection", "the client"))
        self.assertEqual((case().db, case().redis), ("the connection", "the client"))

    def test_classes_for_one_server_have_nothing_of_the_other(self) -> None:
        self.assertFalse(hasattr(PostgresTestCase, "assertKeyExists") or "redis" in dir(PostgresTestCase))
        self.assertFalse(hasattr(RedisTestCase, "assertRowCount") or "db" in dir(RedisTestCase))

    def test_unique_keys_differ(self) -> None:
        keys = {IntegrationTestCase.unique_key("user") for _ in range(100)}
        self.assertEqual(len(keys), 100)
        self.assertTrue(all(key.startswith("user:") for key in keys))

    def test_manager_that_no_setUpModule_started_is_started(self) -> None:
        with mock.patch.object(self.manager, "start", return_value=self.manager) as start:
            _ = self.base()().db
        start.assert_called_once_with()

    def test_class_of_a_manager_that_is_not_started_says_what_to_do(self) -> None:
        class Tests(IntegrationTestCase):
            containers = containertest.ContainerManager()

        with self.assertRaisesRegex(NotStarted, "Call start\\(\\) first: setUpModule"):
            Tests.db.cursor()

    def test_attributes_of_a_class_that_is_not_started_are_there_and_explained(self) -> None:
        self.assertTrue(hasattr(IntegrationTestCase, "db") and hasattr(IntegrationTestCase, "redis"))
        self.assertIn("db", dict(inspect.getmembers(IntegrationTestCase)))
        self.assertIn("autocommit", inspect.getdoc(inspect.getattr_static(IntegrationTestCase, "db")) or "")

    def test_containers_that_are_no_manager_are_refused(self) -> None:
        for wrong in ("postgres:16", containertest.ContainerManager):
            with self.subTest(wrong=wrong), self.assertRaisesRegex(ConfigError, "must be a ContainerManager"):
                type("Tests", (IntegrationTestCase,), {"containers": wrong}).manager()  # type: ignore[attr-defined]

    def test_looking_at_a_class_starts_no_server(self) -> None:
        """pytest looks at every attribute of a class while it collects."""
        done = run_python(
            """
            import sys, inspect
            from containertest import IntegrationTestCase
            class Tests(IntegrationTestCase):
                def test(self): pass
            assert {"db", "redis"} <= dict(inspect.getmembers(Tests)).keys()
            assert "containertest.servers.stack" not in sys.modules
            """
        )
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_first_test_class_announces_the_run_but_the_import_does_not(self) -> None:
        done = run_python(
            """
            import os
            from containertest import IntegrationTestCase
            assert "CONTAINERTEST_SESSION" not in os.environ
            class Tests(IntegrationTestCase): pass
            assert os.environ["CONTAINERTEST_SESSION"].startswith(f"{os.getpid()}-")
            """
        )
        self.assertEqual(done.returncode, 0, done.stderr)


class RunnerTests(CaseCase):
    def test_runner_prints_what_it_always_prints(self) -> None:
        class Tests(self.base()):  # type: ignore[misc]
            def test(self) -> None:
                """The first line."""

        stream = io.StringIO()
        unittest.TextTestRunner(stream, verbosity=2).run(Tests("test"))
        self.assertIn("The first line. ... ok", stream.getvalue())


if __name__ == "__main__":
    unittest.main()
