"""What the tests' runner makes of the output of a module; see `tests.parallel`."""

from __future__ import annotations

import contextlib
import io
import unittest

from tests import parallel
from tests.parallel import Outcome


class OutcomeTests(unittest.TestCase):
    def test_numbers_are_those_of_unittest(self) -> None:
        output = "..F\nRan 7 tests in 1.2s\n\nFAILED (failures=1, skipped=2)\n"
        outcome = Outcome.of("m", output, 1, 0.1)
        self.assertFalse(outcome.passed)
        self.assertEqual((outcome.ran, outcome.counts), (7, {"failures": 1, "skipped": 2}))

    def test_output_of_an_inner_run_does_not_count(self) -> None:
        output = "Ran 1 test in 0.1s\n\nFAILED (errors=1)\n.\nRan 3 tests in 1.2s\n\nOK\n"
        outcome = Outcome.of("m", output, 0, 0.1)
        self.assertEqual((outcome.passed, outcome.ran, outcome.counts), (True, 3, {}))

    def test_module_that_ended_before_it_could_say_counts_as_an_error(self) -> None:
        for output in ("", "Fatal Python error: Aborted\n", "Ran 1 test in 1.2s\n\nOK\n"):
            self.assertEqual(Outcome.of("m", output, -6, 0.1).counts, {"errors": 1})


class RunTests(unittest.TestCase):
    def run_names(self, *names: str) -> tuple[int, str]:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            status = parallel.run(names, 2)
        return status, out.getvalue()

    def test_modules_are_run_and_summed_up(self) -> None:
        status, output = self.run_names("tests.unit.test_wait", "tests.unit.test_sqlscript")
        self.assertEqual(status, 0, output)
        ran = [int(line.split()[2]) for line in output.splitlines() if line.startswith("tests.unit.")]
        self.assertEqual(len(ran), 2)
        self.assertRegex(output, rf"\nRan {sum(ran)} tests in .*\n\nOK\n$")

    def test_failure_is_shown_and_returned(self) -> None:
        status, output = self.run_names("tests.unit.test_wait", "tests.unit.no_such_module")
        self.assertEqual(status, 1)
        self.assertIn("ModuleNotFoundError: No module named 'tests.unit.no_such_module'", output)
        self.assertRegex(output, r"\n\nFAILED \(errors=1\)\n$")


if __name__ == "__main__":
    unittest.main()
