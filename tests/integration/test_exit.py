"""The test process is the user's: its signals, its children, its last words and its end are as without the library."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Any

from tests.integration.crash.evidence import processes
from tests.integration.crash.run import SUITE, Run
from tests.support import TOP, on_every_backend

HANDLERS = """
import os, signal, sys, unittest
def handlers():
    return {number: signal.getsignal(number) for number in signal.valid_signals()}
before = handlers()
from tests.integration.crash import suite
result = unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromModule(suite))
assert result.wasSuccessful()
assert handlers() == before
assert signal.getitimer(signal.ITIMER_REAL) == (0, 0) and signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
"""

TERMINATED = """
import os, signal, unittest
signal.signal(signal.SIGTERM, lambda number, frame: os._exit(33))
from tests.integration.crash import suite
unittest.main(suite)
"""

#: As a server that forks its workers ends: it takes the status of each.
ANY_CHILD = """
import os
from containertest import ContainerManager
with ContainerManager() as containers:
    assert containers.redis.client.ping()
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
    ended = []
    try:
        while True:
            ended.append(os.wait()[0])
    except ChildProcessError:
        assert len(ended) == 2, ended
    containers.reset_all()
"""

#: Has no guard when its servers are ready.
NO_GUARD = """
from unittest import mock
from containertest import ContainerManager, errors
from containertest.session import Session, folders, read_state
no_guard = mock.patch.object(Session, "see_guard", side_effect=errors.ContainerTestError("no guard"))
try:
    with no_guard:
        ContainerManager().start()
except errors.ContainerTestError as error:
    assert str(error) == "no guard", error
(state,) = map(read_state, folders())
assert (state["handles"], state["announced"]) == ({}, []), state
"""

#: Makes the guard work with a library that warns.
WARNING_GUARD = """
import os, sys, warnings
def warned(*arguments, rename=os.rename, **options):
    warnings.warn("this will go away", DeprecationWarning)
    return rename(*arguments, **options)
if "containertest.guard" in sys.orig_argv:
    os.rename = warned
"""


@on_every_backend
class Exit:
    backend: str

    def made(self: Any, place: str = "") -> Run:
        engine = None
        if self.backend == "docker":
            import docker

            engine = docker.APIClient()
            self.addCleanup(engine.close)
        run = Run(self.backend, place, engine=engine)
        self.addCleanup(run.__exit__, None, None, None)
        return run

    def test_signal_handlers_are_as_they_were(self: Any) -> None:
        run = self.made().start(("-c", HANDLERS))
        self.assertEqual(run.wait(), 0, run.said())
        run.wait_until_gone()

    def test_handler_of_the_user_is_called(self: Any) -> None:
        run = self.made("test").start(("-c", TERMINATED))
        run.wait_until_reached()
        os.kill(run.pid, signal.SIGTERM)
        self.assertEqual(run.wait(), 33, run.said())
        run.wait_until_gone()

    def test_process_ends_while_its_guard_can_not_do_a_thing(self: Any) -> None:
        run = self.made("test").start()
        run.wait_until_reached()
        (guard,) = run.guards()
        os.kill(guard, signal.SIGSTOP)
        self.addCleanup(resume, guard)
        run.release()
        self.assertEqual(run.wait(), 0, run.said())
        self.assertNotEqual(run.evidence.left(), [])
        resume(guard)
        run.wait_until_gone()

    def test_guard_is_no_child_that_a_test_could_wait_for(self: Any) -> None:
        run = self.made("test").start()
        run.wait_until_reached()
        (guard,) = run.guards()
        self.assertNotIn(guard, children(run.pid))
        os.kill(guard, signal.SIGKILL)
        run.release()
        self.assertEqual(run.wait(), 0, run.said())
        self.assertEqual(run.python("-m", "containertest", "prune").returncode, 0)
        run.wait_until_gone()

    def test_code_that_waits_for_all_children_ends_and_the_servers_live(self: Any) -> None:
        run = self.made().start(("-c", ANY_CHILD))
        self.assertEqual(run.wait(), 0, run.said())
        run.wait_until_gone()

    def test_servers_that_nobody_would_remove_are_removed_at_once(self: Any) -> None:
        run = self.made().start(("-c", NO_GUARD))
        self.assertEqual(run.wait(), 0, run.said())
        run.wait_until_gone()

    def test_no_zombie_is_left_while_the_run_goes_on(self: Any) -> None:
        run = self.made("test").start()
        run.wait_until_reached()
        self.assertEqual([pid for pid in children(run.pid) if pid not in processes(run.folder)], [])
        run.release()
        self.assertEqual(run.wait(), 0, run.said())
        run.wait_until_gone()

    def test_nothing_is_said_at_the_end_where_every_warning_is_an_error(self: Any) -> None:
        run = self.made().start(("-X", "dev", "-W", "error", *SUITE))
        self.assertEqual(run.wait(), 0, run.said())
        self.assertRegex(run.said(), r"\A\.{4}\n-{70}\nRan 4 tests in [\d.]+s\n\nOK\n\Z")
        run.wait_until_gone()

    def test_warnings_that_are_errors_do_not_keep_the_guard_from_its_work(self: Any) -> None:
        run = self.made()
        (run.folder / "sitecustomize.py").write_text(WARNING_GUARD)
        path = f"{TOP}{os.pathsep}{run.folder}"
        run.start(SUITE, PYTHONWARNINGS="error", PYTHONDEVMODE="1", PYTHONPATH=path)
        self.assertEqual(run.wait(), 0, run.said())
        run.wait_until_gone()


def resume(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def children(pid: int) -> list[int]:
    """The children of a process, zombies too."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(word) for word in (task / "children").read_text().split()]
    return found
