"""Whatever ends a run, nothing of it is left, and runs that go on at the same time do not notice."""

from __future__ import annotations

import os
import signal
import unittest
from collections.abc import Callable
from typing import Any

from containertest.settings import Settings
from tests.integration.crash import slow_initdb
from tests.integration.crash.bystanders import Bystanders
from tests.integration.crash.cases import CASES, Case
from tests.integration.crash.run import DEADLINE, SUITE, Run
from tests.integration.crash.slow_engine import SlowEngine
from tests.support import on_every_backend, require

bystanders = Bystanders()
#: Seconds until nothing was left, for whoever names a file in CT_CRASH_FIGURES.
figures: dict[str, float] = {}


def setUpModule() -> None:
    bystanders.start()


def tearDownModule() -> None:
    bystanders.stop()
    if file := os.environ.get("CT_CRASH_FIGURES"):
        with open(file, "a") as out:
            out.writelines(f"{seconds:6.2f}  {name}\n" for name, seconds in sorted(figures.items()))


class Crashing:
    """What the tests of crashes have in common; to be mixed into a TestCase."""

    backend = "local"
    engine: Any = None

    @classmethod
    def setUpClass(cls: Any) -> None:
        super().setUpClass()  # type: ignore[misc]
        if cls.backend == "docker":
            import docker

            cls.engine = docker.APIClient()
            cls.addClassCleanup(cls.engine.close)

    def made(self: Any, place: str = "", *, beside: Run | None = None) -> Run:
        """A run that is not started yet, and is gone after the test."""
        run = Run(self.backend, place, beside=beside, engine=self.engine)
        self.addCleanup(run.__exit__, None, None, None)
        return run

    def assert_nothing_left(self: Any, run: Run) -> None:
        figures[self.id().rpartition("test_crash.")[2]] = run.wait_until_gone()
        bystanders.ask()

    def check(self: Any, case: Case) -> None:
        run = self.made(case.place).start(case.command)
        if case.hit:
            run.wait_until_reached(case.count)
            case.hit(run)
        if case.goes_on:
            run.release()
        self.assertEqual(run.wait(), case.status, run.said())
        if case.remedy:
            self.assertTrue(run.evidence.left(), "the guard that was killed has removed everything")
            arguments = ("-m", "containertest", "prune") if case.remedy == "prune" else SUITE
            done = run.python(*arguments, CT_CRASH_PLACE="")
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assert_nothing_left(run)


@on_every_backend
class Crash(Crashing):
    """A test for each line of the table, and for the moments that need a place made for them."""

    def test_nothing_is_left_after_signals_during_initdb(self: Any) -> None:
        if self.backend == "docker":
            slow_initdb.make_image(self.engine, Settings.load().postgres_image or "postgres:16-alpine")
            self.addCleanup(self.engine.remove_image, slow_initdb.IMAGE, force=True)
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            with self.subTest(number.name):
                run = self.made()
                run.start(SUITE, **self.stopping_initdb(run))
                run.wait_until(lambda: self.has_reached(run))  # noqa: B023
                os.killpg(run.pid, number)
                self.assertEqual(run.wait(), -number, run.said())
                self.assert_nothing_left(run)

    def stopping_initdb(self: Any, run: Run) -> dict[str, str]:
        """Settings with which `initdb` stops half-way, and no data of an earlier one are found."""
        cache = {"XDG_CACHE_HOME": str(run.folder / "cache"), "HOME": str(run.folder / "home")}
        if self.backend == "local":
            return {**cache, "CONTAINERTEST_POSTGRES_BIN": slow_initdb.local_programs(run.folder / "bin")}
        return {**cache, "CONTAINERTEST_POSTGRES_IMAGE": slow_initdb.IMAGE}

    def has_reached(self: Any, run: Run) -> bool:
        logs = [path.read_text(errors="replace") for path in run.temporary.glob("containertest-data-*/log")]
        return slow_initdb.REACHED in "".join([*logs, run.evidence.logs()])


def _add_tests(*classes: type) -> None:
    for case in CASES:
        for each in classes:
            setattr(each, f"test_nothing_is_left_after_{case.name}", _test_of(case))


def _test_of(case: Case) -> Callable[[Any], None]:
    return lambda self: self.check(case)


_add_tests(CrashOnDocker, CrashOnLocal)  # type: ignore[name-defined]  # noqa: F821


class PullTests(Crashing, unittest.TestCase):
    backend = "docker"

    @classmethod
    def setUpClass(cls) -> None:
        require("docker")
        super().setUpClass()

    def test_nothing_is_left_after_signals_during_the_pull(self) -> None:
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            with self.subTest(number.name):
                run = self.made()
                with SlowEngine(run.folder / "engine.sock") as engine:
                    run.start(SUITE, DOCKER_HOST=engine.host)
                    self.assertTrue(engine.pulling.wait(2 * DEADLINE), run.said())
                    run.evidence.note()
                    os.killpg(run.pid, number)
                    self.assertEqual(run.wait(), -number, run.said())
                    self.assert_nothing_left(run)
