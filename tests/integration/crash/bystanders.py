"""Two runs, one on each backend, that go on while others are hit, and must not notice."""

from __future__ import annotations

from containertest.wait import poll
from tests.integration.crash.run import DEADLINE, Run
from tests.support import BACKENDS, why_not

__all__ = ["Bystanders"]

SUITE = ("-m", "unittest", "tests.integration.crash.bystander")


class Bystanders:
    """Those runs; on backends that are not here there is none."""

    def __init__(self) -> None:
        self._runs: list[Run] = []

    def start(self) -> None:
        for backend in BACKENDS:
            if not why_not(backend):
                self._runs.append(Run(backend).start(SUITE))
        self.ask()

    def ask(self) -> None:
        """Let each test what it has; AssertionError if one does not answer, or finds that something has changed."""
        for run in self._runs:
            (run.marks / "answered").unlink(missing_ok=True)
            (run.marks / "ping").touch()
        for run in self._runs:
            if not _answers(run):
                raise AssertionError(f"a run that goes on at the same time was harmed:\n{run.said()}")

    def stop(self) -> None:
        """End them; AssertionError if one has failed or leaves anything behind."""
        try:
            for run in self._runs:
                (run.marks / "stop").touch()
            for run in self._runs:
                if run.wait() != 0:
                    raise AssertionError(f"a run that went on at the same time has failed:\n{run.said()}")
                run.wait_until_gone()
        finally:
            for run in self._runs:
                run.__exit__(None, None, None)
            self._runs.clear()


def _answers(run: Run) -> bool:
    answered = run.marks / "answered"
    poll(lambda: answered.exists() or run.has_ended(), 2 * DEADLINE)
    return answered.exists()
