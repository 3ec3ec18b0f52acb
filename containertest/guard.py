"""Removes a run's servers when its last process is gone: ``python -m containertest.guard FOLDER LOCK``.

A small detached process, one per run, started by `containertest.session.spawn_guard`, which hands it the open
file ``LOCK`` with the guard's lock. It waits for the exclusive lock on the run's file ``alive``; when it gets
it, all processes of the run are gone, by whatever death.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from containertest import backends
from containertest.errors import BackendUnavailable, ContainerTestError
from containertest.processes import alive, default_signals
from containertest.servers import borrowed
from containertest.session import Session, State, bury, read_state, remove_base
from containertest.wait import now

__all__ = ["main", "remove_run"]

#: Seconds between two looks where there is nothing to wait for in the kernel.
INTERVAL = 0.1
#: Seconds to go on trying when an engine or a server does not answer; then the next run or ``prune`` has to.
PATIENCE = 120.0
#: Seconds after which what is still to be given back to a server of somebody else's is forgotten: it won't come back.
FORGOTTEN = 7 * 86_400
#: Seconds between two of these attempts, at most.
LONGEST_PAUSE = 2.0


def main(folder: Path, lock: int) -> None:
    """Watch over the run in ``folder`` until it is over, then remove all of it."""
    os.set_inheritable(lock, False)
    default_signals()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        # Opened now, so that it works even when somebody removes the folder meanwhile.
        file = os.open(folder / "alive", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with contextlib.suppress(OSError):  # as on a full disk
        os.pwrite(lock, b"at work\n", 0)
    while True:
        _wait_for_root(read_state(folder).get("root"))
        with _exclusive(file):
            root = read_state(folder).get("root")
            # It may have joined only now, or have lost its lock and do without.
            is_over = not (root and alive(root))
            if is_over and not _linger_wanted(folder):
                return _remove(folder)
        if is_over:
            _linger(folder)


def _wait_for_root(root: Any) -> None:
    """Wait until the run's first process is gone: it may only collect tests and hold no lock."""
    if not root or not alive(root):
        return
    try:
        file = os.pidfd_open(int(root[0]))
    except (AttributeError, OSError):
        while alive(root):
            time.sleep(INTERVAL)
        return
    if alive(root):
        select.select([file], [], [])
    os.close(file)


@contextlib.contextmanager
def _exclusive(file: int) -> Iterator[None]:
    """Hold the lock that is free when no process of the run lives; waits for it."""
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def _linger_wanted(folder: Path) -> bool:
    state = read_state(folder)
    if not state.get("servers") or not (state["keep_alive"] or state["kept"]) or state.get("prune"):
        return False
    return _note(folder, lambda changing: changing.update(idle=True))


def _note(folder: Path, change: Callable[[State], object]) -> bool:
    """Change the run's state; False where it can't be written, as on a full disk."""
    with contextlib.suppress(OSError, ContainerTestError), Session(folder, -1).state() as state:
        change(state)
        return True
    return False


def _linger(folder: Path) -> None:
    """Let the servers stay for the next run, until one comes or the time is up."""
    state = read_state(folder)
    seconds = float("inf") if state["kept"] else state["keep_alive"]
    deadline = now() + seconds
    while now() < deadline:
        time.sleep(INTERVAL)
        state = read_state(folder)
        if not state.get("idle") or state.get("prune"):
            return
    _note(folder, lambda changing: changing.update(prune=changing["idle"]))


def _remove(folder: Path) -> None:
    deadline = now() + PATIENCE
    said: set[str] = set()
    pause = INTERVAL
    while not remove_run(folder, said):
        if now() > deadline:
            return
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def remove_run(folder: Path, said: set[str] | None = None) -> bool:
    """Remove all that the run in ``folder`` has made, the folder last; False if something did not work.

    What goes wrong is written to the run's ``guard.log``, which then stays with the folder; once, if ``said`` is
    handed over from one attempt to the next. A server of somebody else's that can't be reached for a week is not
    asked any more.
    """
    said = set() if said is None else said
    state = read_state(folder)
    failed = state.get("failed", time.time())
    problems = borrowed.give_back(state, folder.name) if time.time() - failed < FORGOTTEN else []
    for name in backends.NAMES:
        handles = {key: handle for key, handle in state.get("handles", {}).items() if handle.get("backend") == name}
        # Without its state, or parts of it, all that can be done is to look for what has the run's name on it.
        if handles or state.get("damaged") or not folder.exists():
            problems += _removed(name, folder, handles)
    if not folder.exists():
        return True
    for problem in problems:
        if problem not in said:
            print(problem, file=sys.stderr, flush=True)
        said.add(problem)
    if problems:
        _note(folder, lambda changing: changing.update(failed=failed))
    else:
        _unlink_names(folder)
        bury(folder)
        remove_base(folder.parent)
    return not problems


def _removed(backend: str, folder: Path, handles: dict[str, Any]) -> list[str]:
    try:
        _remove_by_handles(backend, folder, handles)
    except BackendUnavailable as error:
        # Where nothing is known of any server there, the folder need not stay: `prune` finds what has lost its run.
        return [traceback.format_exc()] if handles else _said(f"not looked for on {backend}: {error}")
    except Exception:
        return [traceback.format_exc()]
    return []


def _remove_by_handles(backend: str, folder: Path, handles: dict[str, Any]) -> None:
    try:
        backends.get(backend).remove(folder.name, handles)
    except (AttributeError, LookupError, TypeError, ValueError):
        # Handles that are damaged, or of another version.
        _said(traceback.format_exc())
        backends.get(backend).remove(folder.name, {})


def _said(text: str) -> list[str]:
    """Write to the log what is no reason to keep the run's folder."""
    print(text, file=sys.stderr, flush=True)
    return []


def _unlink_names(folder: Path) -> None:
    """Remove the names under which later runs have taken over the run in ``folder``."""
    with contextlib.suppress(FileNotFoundError):
        for name in folder.parent.iterdir():
            if name.is_symlink() and name.resolve() == folder:
                name.unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
