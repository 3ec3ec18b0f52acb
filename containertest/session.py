"""The servers that the processes of one run share.

A run is a process and its descendants. They find each other by the run's id, after which the run's private folder is
named (see `containertest.identity`)::

    <temporary folder>/containertest-<uid>/     mode 0700
        <name>/
            alive         every process of the run holds a shared flock on it for as long as it lives
            state.json    servers, template databases, who has which database; under the lock ``state.lock``
            guard.lock    held by the guard (see `containertest.guard`)
            *.lock        one for each thing that only one process may make

The kernel drops a lock when its last holder is gone, by whatever death: that is how the guard knows. In the same way
whoever uses the state sees whether there is a guard, and so does each process at its end.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import functools
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
from containertest.identity import VARIABLE, XDIST, given_id, identify, name_of
from containertest.processes import myself
from containertest.state import State, empty_state, read_state, working_folder, write_private
from containertest.trust import open_to_all
from containertest.wait import poll

__all__ = [
    "VARIABLE",
    "Session",
    "State",
    "announce",
    "base_folder",
    "empty_state",
    "identify",
    "locked",
    "myself",
    "read_state",
    "working_folder",
    "write_private",
]

#: What is added to the name of a run's folder of which only files are left to be removed.
GONE = ".gone"

#: Files without which a run has no end.
FILES = ("alive", "state.lock", "guard.lock", "guard.log")

#: Seconds that a second guard gets to begin its work, when the first one has died.
GUARD_TIMEOUT = 30

log = logging.getLogger("containertest")


def base_folder() -> Path:
    """The folder of all runs of this user; made if need be.

    :raises ContainerTestError: if it can't be made, or if others could put another one in its place.
    """
    folder = _place_of_base()
    with _explained(folder), contextlib.suppress(FileExistsError):
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


def _place_of_base() -> Path:
    """Where the folder of all runs is to be.

    Who owns the temporary folder and those above it is trusted: it is usual in containers and on CI machines that
    these are another user's. That everybody may rename what is in them is not.
    """
    try:
        top = Path(tempfile.gettempdir())
        unsafe = open_to_all(top)
    except OSError as error:
        raise ContainerTestError(
            f"There is no folder for temporary files: {error.strerror or error}.\n"
            "Set TMPDIR to a folder that this user may write to."
        ) from error
    if unsafe is not None:
        raise ContainerTestError(
            f"{unsafe} may be written to by everybody and has no sticky bit: others could put a folder of theirs in "
            f"the place of this user's, so the temporary folder {top} can't be trusted.\n"
            f"Do chmod +t {unsafe}, or set TMPDIR to another folder."
        )
    return top / f"containertest-{os.getuid()}"


#: What a file system or this process' limits may say at any time, whatever is written.
UNWRITABLE = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE,
    errno.ENOLCK, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EFBIG, errno.ENOMEM, errno.EAGAIN,
}  # fmt: skip


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Say what to do where ``path`` can't be written."""
    try:
        yield
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise ContainerTestError(
            f"{path} can't be used: {error.strerror}.\n"
            "Make room, raise the limit (ulimit), or set TMPDIR to a folder that this user may write to."
        ) from error


def announce() -> None:
    """Make this process the first one of a run, unless it is in one already.

    Called when a manager or a test class is made, so that a process which only collects tests (the parent of
    unittest-parallel's workers) gives its children a common run.
    """
    if not os.environ.get(VARIABLE) and XDIST not in os.environ:
        os.environ[VARIABLE] = given_id()[0]
        # This process may never have servers of its own, but outlives those that have.
        atexit.register(see_off, name_of(os.environ[VARIABLE]))


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold an flock on ``path`` (made if need be); waits for it.

    Unlocked by name at the end: a child forked meanwhile has the same open file and would keep the lock.
    """
    with _explained(path):
        file = open(path, "a")  # noqa: SIM115 (closed below)
    with file:
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
        identity, root = given_id()
        with _explained(base_folder()):
            folder, file = _hold(name_of(identity))
        session = cls(folder, file)
        if not os.environ.get(VARIABLE):
            os.environ[VARIABLE] = identity
        try:
            with session.state() as state:
                begins = not state
                if begins:
                    state.update(empty_state(root))
                state["keep_alive"] = max(state["keep_alive"], keep_alive)
        except ContainerTestError:
            session.leave()
            if not read_state(folder) and free(folder / "alive"):
                bury(folder)
                remove_base(folder.parent)
            raise
        _at_end_of_process(folder.name)
        if begins:
            bury_dead_runs()
        return session

    @contextlib.contextmanager
    def state(self) -> Iterator[State]:
        """The run's state, for reading and changing; written back (atomically) when it has changed.

        A process of the run sees to it that there is a guard, before it notes what has to be removed.
        """
        with locked(self.folder / "state.lock"):
            if self._alive >= 0:
                spawn_guard(self.folder)
            state = read_state(self.folder)
            before = json.dumps(state)
            yield state
            if json.dumps(state) != before:
                with _explained(self.folder):
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
            said = guard_log(self.folder)
            raise ContainerTestError(
                f"The process that removes the servers at the end, {sys.executable} -m containertest.guard, ended at "
                f"once.\nSee that this Python works, and that there is memory for it. What it said:\n{last_lines(said)}"
            )

    def leave(self) -> None:
        """Let go of the run; the guard does the rest when this was the last process."""
        if self._alive >= 0:
            os.close(self._alive)
            self._alive = -1


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
            for each in FILES:
                _remove_unless_file(folder / each)
            file = os.open(folder / "alive", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue
        except OSError:
            with contextlib.suppress(OSError):
                name.rmdir()
            raise
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
                _remove(path)
        shutil.rmtree(gone)


def _remove(path: Path) -> None:
    """Remove a file, or a folder that somebody has made where a file belongs."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def guard_log(folder: Path) -> str:
    """What the guard of the run in ``folder`` has said; "" if that can't be read."""
    with contextlib.suppress(OSError):
        return (folder / "guard.log").read_text(encoding="utf-8", errors="replace")
    return ""


def see_off(name: str) -> None:
    """At the end of a process of the run ``name``: see to it that there is a guard. Never waits for one."""
    folder = Path(tempfile.gettempdir(), f"containertest-{os.getuid()}", name)
    try:
        if free(folder / "guard.lock"):
            with locked(folder / "state.lock"):
                spawn_guard(folder.resolve())
    except FileNotFoundError:
        pass  # no servers were needed, or all is removed
    except (OSError, ContainerTestError) as error:
        log.warning("%s\nWhat the run %s has left is removed by the next run, or by containertest prune.", error, name)


@functools.cache
def _at_end_of_process(name: str) -> None:
    """Have `see_off` called at the end of this process, also where multiprocessing has made it by a fork."""
    atexit.register(see_off, name)
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing and multiprocessing.parent_process():
        from multiprocessing.util import Finalize

        Finalize(None, see_off, args=(name,), exitpriority=0)


os.register_at_fork(after_in_child=lambda: _at_end_of_process.cache_clear())


def spawn_guard(folder: Path) -> bool:
    """Start the guard of the run in ``folder``, unless it has one; to be called under its ``state.lock``.

    We take the guard's lock and hand it down, so that no moment is left in which a second guard could start.
    The guard is detached: no signal to a terminal or a process group hits it. Nor is it a child of this process,
    whose tests may wait for "any child": the shell that starts it in the background ends at once.
    """
    with _explained(folder):
        lock = _try(folder / "guard.lock")
    if lock is None:
        return False
    try:
        with _explained(folder):
            _spawn(folder, lock)
    finally:
        os.close(lock)
    return True


def _spawn(folder: Path, lock: int) -> None:
    # As whom this process acts, and with which capabilities, not as whom it was started.
    if not os.access(sys.executable or "", os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise ContainerTestError(
            f"This process may not run its own Python, {sys.executable!r}: nobody would remove its servers.\n"
            "Run the tests as a user who may, or with a Python that this user can reach."
        )
    # The guard writes to it when it is at work.
    os.ftruncate(lock, 0)
    here = str(Path(__file__).resolve().parents[1])
    search = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    with open(_open_log(folder), "ab") as log:
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


def _open_log(folder: Path) -> int:
    """Open the guard's log; one that can't be written is no reason to have no guard."""
    try:
        return os.open(folder / "guard.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)


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
        elif not {path.name for path in folder.iterdir()} - {"alive"}:
            _remove_stillborn(folder)
        else:
            return _is_dead(folder)
    except (OSError, ContainerTestError) as error:
        if not isinstance(error, FileNotFoundError):  # somebody else removes it at this moment
            log.warning("%s can't be removed: %s", folder, error)
    return False


def _is_dead(folder: Path) -> bool:
    """Whether the run in ``folder`` had neither a living process nor a guard; it has a guard then."""
    for name in FILES:
        _remove_unless_file(folder / name)
        os.close(os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    if not free(folder / "alive"):
        return False
    with locked(folder / "state.lock"):
        return free(folder / "alive") and spawn_guard(folder)


def _remove_unless_file(path: Path) -> None:
    """Remove what is where a file belongs, but is none, or can't be opened: nobody holds a lock on it."""
    with contextlib.suppress(FileNotFoundError):
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o600 != 0o600:
            _remove(path)


def _finish_removal(folder: Path) -> None:
    """Remove the folder of a run whose guard was killed when only that was left to do."""
    if not (folder / "guard.lock").exists() or free(folder / "guard.lock"):
        shutil.rmtree(folder, ignore_errors=True)


def _remove_stillborn(folder: Path) -> None:
    """Remove the folder of a run whose first process was killed before it made anything but ``alive``."""
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
