"""The servers that the processes of one run share.

A run is a process and its descendants. They find each other by the run's id, which is also the name of the
run's private folder::

    <temporary folder>/containertest-<uid>/     mode 0700
        <id>/
            alive         every process of the run holds a shared flock on it for as long as it lives
            state.json    servers, template databases, who has which database; under the lock ``state.lock``
            guard.lock    held by the guard (see `containertest.guard`)
            *.lock        one for each thing that only one process may make

The kernel drops a lock when its last holder is gone, by whatever death: that is how the guard knows.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from containertest.errors import ContainerTestError, last_lines
from containertest.files import working_folders
from containertest.processes import Process, myself
from containertest.wait import poll

__all__ = ["VARIABLE", "Session", "State", "announce", "base_folder", "identify", "locked"]

#: The variable by which a run hands its id to its descendants.
VARIABLE = "CONTAINERTEST_SESSION"

#: What is added to the name of a run's folder of which only files are left to be removed.
GONE = ".gone"

#: Seconds that a second guard gets to begin its work, when the first one has died.
GUARD_TIMEOUT = 30

log = logging.getLogger("containertest")

#: The content of ``state.json``; `empty_state` has its keys.
State = dict[str, Any]


def empty_state(root: Process) -> State:
    """The state of a run that has nothing yet. ``root`` is its first process."""
    return {
        "root": root,
        "where": working_folder(),
        "keep_alive": 0.0,
        "idle": False,
        "kept": [],
        "servers": {},
        "handles": {},
        "chosen": {},
        "announced": [],
    }


def working_folder() -> str:
    """The working folder; "" when it has been removed."""
    return str(next(iter(working_folders()), ""))


def base_folder() -> Path:
    """The folder of all runs of this user; made if need be.

    :raises ContainerTestError: if somebody else made it first.
    """
    folder = Path(tempfile.gettempdir()) / f"containertest-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    try:
        found = folder.lstat()
    except FileNotFoundError:
        # A guard has just removed it with the last run.
        return base_folder()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ContainerTestError(
            f"{folder} must be a folder of this user's own with mode 0700, but is not: it can't be trusted.\n"
            "Look who made it, remove it, or set TMPDIR to another folder."
        )
    return folder


def announce() -> None:
    """Make this process the first one of a run, unless it is in one already.

    Called when a manager or a test class is made, so that a process which only collects tests (the parent of
    unittest-parallel's workers) gives its children a common run.
    """
    if VARIABLE not in os.environ and "PYTEST_XDIST_TESTRUNUID" not in os.environ:
        os.environ[VARIABLE] = identify()[0]


def identify() -> tuple[str, Process]:
    """The id of the run that this process belongs to, and the run's first process."""
    given = os.environ.get(VARIABLE, "")
    if given.replace("-", "").isalnum():
        pid, _, start = given.partition("-")
        return given, [pid, start] if pid.isdigit() else myself()
    if xdist := os.environ.get("PYTEST_XDIST_TESTRUNUID"):
        return f"xdist-{xdist}", _controller()
    root = _parent() or myself()
    return "-".join(root), root


def _controller() -> Process:
    """xdist's first process; this one, if that has died: who adopts its children may live as long as the machine."""
    parent = os.getppid()
    with contextlib.suppress(OSError):
        if os.path.samefile(f"/proc/{parent}/exe", "/proc/self/exe"):
            return myself(parent)
    return myself() if parent == 1 or os.path.exists("/proc/self/exe") else myself(parent)


def _parent() -> Process | None:
    """The process that made this one by multiprocessing or concurrent.futures, if any."""
    multiprocessing = sys.modules.get("multiprocessing")
    parent = multiprocessing.parent_process() if multiprocessing else None
    return myself(parent.pid) if parent is not None and parent.pid else None


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold an flock on ``path`` (made if need be); waits for it.

    Unlocked by name at the end: a child forked meanwhile has the same open file and would keep the lock.
    """
    with open(path, "a") as file:
        os.chmod(path, 0o600)
        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


class Session:
    """One run, as one of its processes sees it.

    :param folder: the run's folder.
    :param alive: the open file whose shared flock says that this process lives.
    """

    def __init__(self, folder: Path, alive: int) -> None:
        self.folder = folder
        self.pid = os.getpid()
        self._alive = alive

    @property
    def id(self) -> str:
        return self.folder.name

    @classmethod
    def join(cls, keep_alive: float = 0.0) -> Session:
        """Join this process' run, or begin it; see to it that a guard watches.

        :param keep_alive: seconds that the run's servers shall stay for the next run.
        """
        identity, root = identify()
        folder, file = _hold(identity)
        session = cls(folder, file)
        os.environ.setdefault(VARIABLE, identity)
        with session.state() as state:
            begins = not state
            if begins:
                state.update(empty_state(root))
            state["keep_alive"] = max(state["keep_alive"], keep_alive)
        try:
            session.guard()
        except ContainerTestError:
            session.leave()
            if begins and free(folder / "alive"):
                bury(folder)
                remove_base(folder.parent)
            raise
        if begins:
            bury_dead_runs()
        return session

    @contextlib.contextmanager
    def state(self) -> Iterator[State]:
        """The run's state, for reading and changing; written back (atomically) when it has changed."""
        with locked(self.folder / "state.lock"):
            state = read_state(self.folder)
            before = json.dumps(state)
            yield state
            if json.dumps(state) != before:
                write_private(self.folder / "state.json", json.dumps(state, indent=1))

    def lock(self, name: str) -> contextlib.AbstractContextManager[None]:
        """The lock under which one process makes ``name`` and the others wait."""
        return locked(self.folder / f"{name}.lock")

    def record(self, handle: dict[str, Any]) -> None:
        """Note a thing that has to be removed at the end of the run, before it exists."""
        with self.state() as state:
            state["handles"][handle["id"]] = handle

    def forget(self, handle: dict[str, Any]) -> None:
        """Drop the note of a thing that has been removed."""
        with self.state() as state:
            state["handles"].pop(handle["id"], None)

    def guard(self) -> None:
        """Start a guard, unless one is at work."""
        with locked(self.folder / "state.lock"):
            spawn_guard(self.folder)

    def see_guard(self) -> None:
        """Look whether the guard still lives, which had a start's time to fail; else begin another one.

        :raises ContainerTestError: if that one ends at once too.
        """
        with locked(self.folder / "state.lock"):
            if not spawn_guard(self.folder):
                return
        lock = self.folder / "guard.lock"
        poll(lambda: bool(lock.stat().st_size) or free(lock), GUARD_TIMEOUT)
        if free(lock):
            said = (self.folder / "guard.log").read_text(encoding="utf-8", errors="replace")
            raise ContainerTestError(
                f"The process that removes the servers at the end, {sys.executable} -m containertest.guard, ended at "
                f"once.\nSee that this Python works, and that there is memory for it. What it said:\n{last_lines(said)}"
            )

    def leave(self) -> None:
        """Let go of the run; the guard does the rest when this was the last process."""
        if self._alive >= 0:
            os.close(self._alive)
            self._alive = -1


def read_state(folder: Path) -> State:
    """The state of the run in ``folder``; empty when it has none."""
    try:
        state: State = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return state


def write_private(path: Path, text: str) -> None:
    """Write a file (mode 0600) that appears whole or not at all."""
    temporary = path.with_suffix(".new")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)


def _hold(identity: str) -> tuple[Path, int]:
    """Take the shared lock of a living process; again, when the guard removed the folder meanwhile.

    :return: the run's folder and the open file.
    """
    while True:
        name = base_folder() / identity
        if name.is_symlink() and not name.exists():
            name.unlink(missing_ok=True)
        try:
            # Not with exist_ok, which looks again at what was there: the guard may have removed it by then.
            with contextlib.suppress(FileExistsError):
                name.mkdir(mode=0o700)
            folder = name.resolve()
            file = os.open(folder / "alive", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue
        fcntl.flock(file, fcntl.LOCK_SH)
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(file).st_ino == os.stat(folder / "alive").st_ino:
                return folder, file
        os.close(file)


def bury(folder: Path) -> None:
    """Remove the folder of a run that has nothing else left; to be called by its guard.

    Renamed first: a new process of the same run that comes at this moment must not find half of it.
    """
    gone = folder.with_name(folder.name + GONE)
    with contextlib.suppress(FileNotFoundError):
        folder.rename(gone)
        for path in gone.iterdir():
            if path.name != "guard.lock":
                path.unlink(missing_ok=True)
        shutil.rmtree(gone)


def spawn_guard(folder: Path) -> bool:
    """Start the guard of the run in ``folder``, unless it has one; to be called under its ``state.lock``.

    We take the guard's lock and hand it down, so that no moment is left in which a second guard could start.
    The guard is detached: no signal to a terminal or a process group hits it. Nor is it a child of this process,
    whose tests may wait for "any child": the shell that starts it in the background ends at once.
    """
    # As whom this process acts, and with which capabilities, not as whom it was started.
    if not os.access(sys.executable or "", os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise ContainerTestError(
            f"This process may not run its own Python, {sys.executable!r}: nobody would remove its servers.\n"
            "Run the tests as a user who may, or with a Python that this user can reach."
        )
    lock = _try(folder / "guard.lock")
    if lock is None:
        return False
    # The guard writes to it when it is at work.
    os.ftruncate(lock, 0)
    here = str(Path(__file__).resolve().parents[1])
    search = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    with open(os.open(folder / "guard.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
        # PYTHONWARNINGS=error must not make errors of the warnings of libraries that the guard loads.
        guard = [sys.executable, "-W", "ignore", "-m", "containertest.guard", str(folder), str(lock)]
        subprocess.run(
            ["/bin/sh", "-c", '"$@" &', "sh", *guard],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={**environment, "PYTHONPATH": search},
            pass_fds=[lock],
            start_new_session=True,
            check=True,
        )
    os.close(lock)
    return True


def _try(path: Path) -> int | None:
    """Take the exclusive lock ``path`` and return the open file; None when somebody has it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


def folders() -> list[Path]:
    """The folders of all runs of this user."""
    with contextlib.suppress(FileNotFoundError):
        return [path for path in sorted(base_folder().iterdir()) if path.is_dir() and not path.is_symlink()]
    return []


def remove_base(base: Path) -> None:
    """Remove the folder of all runs, if none is left."""
    with contextlib.suppress(OSError):
        if [path.name for path in base.iterdir()] == ["take-over.lock"]:
            (base / "take-over.lock").unlink()
        base.rmdir()


def bury_dead_runs() -> list[Path]:
    """Give each run that has neither a living process nor a guard a guard, which then removes it.

    :return: the folders of these runs.
    """
    return [folder for folder in folders() if _bury(folder)]


def _bury(folder: Path) -> bool:
    try:
        if folder.name.endswith(GONE):
            _finish_removal(folder)
        elif not (folder / "state.lock").exists():
            _remove_stillborn(folder)
        elif free(folder / "alive"):
            with locked(folder / "state.lock"):
                return free(folder / "alive") and spawn_guard(folder)
    except OSError as error:
        if not isinstance(error, FileNotFoundError):  # somebody else removes it at this moment
            log.warning("%s can't be removed: %s", folder, error)
    return False


def _finish_removal(folder: Path) -> None:
    """Remove the folder of a run whose guard was killed when only that was left to do."""
    if not (folder / "guard.lock").exists() or free(folder / "guard.lock"):
        shutil.rmtree(folder, ignore_errors=True)


def _remove_stillborn(folder: Path) -> None:
    """Remove the folder of a run whose first process was killed before it made anything but ``alive``."""
    if {path.name for path in folder.iterdir()} - {"alive"}:
        return
    if (folder / "alive").exists():
        file = _try(folder / "alive")
        if file is None:
            return
        # Who is about to join sees that it is another file, and begins again: see `_hold`.
        (folder / "alive").unlink()
        os.close(file)
    folder.rmdir()


def free(path: Path) -> bool:
    """Whether nobody holds the lock ``path``, shared or not.

    :raises FileNotFoundError: if there is no such file.
    """
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True
