"""Runs whose processes were started with signals ignored or blocked, as by nohup, "&", a supervisor or a CI runner."""

from __future__ import annotations

import signal
import subprocess
import sys
import unittest
from typing import Any

from containertest.processes import default_signals
from tests.integration.user_project import Project, module
from tests.support import TOP, on_every_backend, run_python

#: Becomes the rest of its command line with all signals ignored ("i"), blocked ("b"), or both.
START = """
import os, signal, sys
numbers = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
for number in numbers if "i" in sys.argv[1] else ():
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, numbers if "b" in sys.argv[1] else ())
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""

SHOW = """
import signal, subprocess, sys
import tests
odd = "import signal; print(sorted(n for n in signal.valid_signals() if signal.getsignal(n) is signal.SIG_IGN"
odd += " and n.name not in ('SIGPIPE', 'SIGXFSZ')), sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())))"
exec(odd)
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, flush=True)
subprocess.run([sys.executable, "-c", odd], check=True)
"""


@on_every_backend
class OddSignals:
    backend: str

    def test_servers_start_and_nothing_is_left(self: Any) -> None:
        for how in ("i", "b", "ib"):
            with self.subTest(how):
                project = Project(self, test_it=module())
                # A cache of its own: initdb is the program that minds.
                cache = {"XDG_CACHE_HOME": str(project.folder / "cache"), "CONTAINERTEST_BACKEND": self.backend}
                run = project.run("-c", START, how, "-m", "unittest", **cache)
                self.assertEqual(run.status, 0, run.output)
                project.assert_nothing_left(self)


class OurTests(unittest.TestCase):
    """What `make test` runs is as if a terminal had started it."""

    def test_tests_and_their_children_have_no_signal_ignored_or_blocked(self) -> None:
        for how in ("i", "b", "ib"):
            with self.subTest(how):
                done = run_python(START, how, "-c", SHOW)
                self.assertEqual((done.stdout, done.stderr), ("[] []\nTrue\n[] []\n", ""))

    def test_module_that_sends_signals_to_its_children_ends(self) -> None:
        names = ["tests.unit.test_cli.ExecuteTests", "tests.unit.test_cli.WaitTests"]
        done = subprocess.run(
            [sys.executable, "-c", START, "ib", "-m", "tests", *names],
            cwd=TOP,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_handlers_of_a_program_stay(self) -> None:
        before = signal.signal(signal.SIGUSR1, print)
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        default_signals()
        self.assertIs(signal.getsignal(signal.SIGUSR1), print)


if __name__ == "__main__":
    unittest.main()
