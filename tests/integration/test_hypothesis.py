"""Tests of hypothesis: what each example begins with."""

from __future__ import annotations

import unittest

from tests.integration.runner_case import PARALLEL, PYTEST, RunnerCase


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
