"""A run to be hit: a child process with a TMPDIR of its own, whose parts can be found and killed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from containertest.wait import poll
from tests.integration.crash import marks
from tests.integration.crash.evidence import MARK, Evidence, processes
from tests.support import TOP, clean_environment

__all__ = ["DEADLINE", "SUITE", "WORKERS", "Run"]

#: Seconds until something that must happen counts as not happening: for a busy machine, not what is promised.
DEADLINE = 60.0
SUITE = ("-m", "unittest", "tests.integration.crash.suite")
WORKERS = ("-m", "tests.integration.crash.workers", "2")


#: Where data are fast, if there is this much room; a container often has a /dev/shm of 64 MB.
MEMORY, ROOM = Path("/dev/shm"), 2 << 30


def _place() -> Path | None:
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM else None


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let children be interruptible even where these tests are not: a shell's background jobs ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Run:
    """One run of the library.

    :param backend: its ``CONTAINERTEST_BACKEND``.
    :param place: where it waits to be hit; see `marks.PLACE`.
    :param folder: of an earlier run, to share its TMPDIR.
    :param engine: docker's low-level client, to count containers with.
    """

    def __init__(self, backend: str, place: str = "", *, beside: Run | None = None, engine: Any = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ct-crash-", dir=_place()))
        # PostgreSQL's own user must get to its data.
        self.folder.chmod(0o711)
        self.temporary = beside.temporary if beside else self.folder / "tmp"
        self.marks = self.folder / "marks"
        self.marks.mkdir()
        self.temporary.mkdir(mode=0o1777, exist_ok=True)
        self.temporary.chmod(0o1777)
        self.evidence = Evidence(self.folder, self.temporary, engine)
        self.variables = {
            "TMPDIR": str(self.temporary),
            "CONTAINERTEST_BACKEND": backend,
            MARK: str(self.folder),
            marks.FOLDER: str(self.marks),
            marks.PLACE: place,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.output = self.folder / "output"

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Only what a failed test has left is still there."""
        marks.release(self.marks)
        if self.process is not None:
            self._end()
        for pid in processes(self.folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(Exception):
            for container in self.evidence.containers() if self.temporary.parent == self.folder else ():
                self.evidence.engine.remove_container(container["Id"], force=True, v=True)
        poll(lambda: not processes(self.folder), DEADLINE)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self) -> None:
        assert self.process is not None
        try:
            self.process.wait(0 if self.process.poll() is not None else 10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def start(self, command: tuple[str, ...] = SUITE, prefix: tuple[str, ...] = (), **variables: str) -> Run:
        """Start the child, in a process group of its own, as a shell would."""
        with open(self.output, "wb") as output, interruptible():
            self.process = subprocess.Popen(
                [*prefix, sys.executable, *command],
                cwd=TOP,
                env=clean_environment(**{**self.variables, **variables}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def wait_until_reached(self, count: int = 1) -> None:
        """Wait until ``count`` processes are where the test wants them."""
        self.wait_until(lambda: len(marks.reached(self.marks)) >= count)

    def wait_until(self, check: Callable[[], bool]) -> None:
        """Wait until ``check`` holds, and note what can only be seen now."""
        poll(lambda: check() or self.has_ended(), 2 * DEADLINE, interval=0.02)
        if not check():
            raise AssertionError(f"the run did not get there:\n{self.said()}")
        self.evidence.note()

    def has_ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def release(self) -> None:
        """Let it go on from where it waits."""
        marks.release(self.marks)

    def wait(self) -> int:
        """Wait until the child ends; its status, negative after a signal."""
        assert self.process is not None
        try:
            return self.process.wait(2 * DEADLINE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the run does not end:\n{self.said()}") from None

    def wait_until_gone(self) -> float:
        """Wait until nothing is left; seconds that it took."""
        began = time.monotonic()
        if not poll(lambda: not self.evidence.left(), DEADLINE, interval=0.05):
            logs = [path.read_text(errors="replace") for path in self.temporary.glob("containertest-*/*/guard.log")]
            raise AssertionError("left behind:\n" + "\n".join([*self.evidence.left(), *logs, self.said()]))
        return time.monotonic() - began

    def guards(self) -> list[int]:
        """The processes that watch over this run, or over another one with the same TMPDIR."""
        return [pid for pid, command in processes(self.folder).items() if "containertest.guard" in command]

    def state(self) -> dict[str, Any]:
        """What the run has written down."""
        (file,) = self.temporary.glob(f"containertest-{os.getuid()}/*/state.json")
        state: dict[str, Any] = json.loads(file.read_text())
        return state

    def server(self, service: str) -> int:
        """The pid, on this machine, of the run's PostgreSQL or Redis."""
        for handle in self.state()["handles"].values():
            if handle["backend"] == "local" and handle["service"] == service:
                return int(handle["process"][0])
            if handle["backend"] == "docker" and f"-{service}-" in handle["id"]:
                return int(self.evidence.engine.inspect_container(handle["id"])["State"]["Pid"])
        raise AssertionError(f"the run has no {service}")

    def python(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run Python with this run's TMPDIR and settings, as another run."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=TOP,
            env=clean_environment(**{**self.variables, **variables}),
            capture_output=True,
            text=True,
            timeout=3 * DEADLINE,
            check=False,
        )
