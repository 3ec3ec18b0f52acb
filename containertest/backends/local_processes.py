"""Which processes belong to a data folder, and how to end them for certain.

Linux tells through ``/proc``; elsewhere ``ps`` is asked.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from containertest.processes import Process, alive, is_zombie_of, myself
from containertest.wait import poll

__all__ = ["ask_to_end", "end_all", "has_proc", "lost_in", "reap", "reap_adopted", "runs_from", "using"]

PROC = Path("/proc")
#: What Linux adds to the name of a working directory that is not there any more.
GONE = " (deleted)"
#: Seconds that a killed process may take to vanish; only one that waits for a broken disk takes longer.
PATIENCE = 10.0


def has_proc() -> bool:
    """Whether this kernel has Linux' ``/proc``."""
    return PROC.joinpath("self", "stat").exists()


def reap(pid: int) -> None:
    """Take the exit status of ``pid`` if it is an ended child of this process, so that it is no zombie."""
    with contextlib.suppress(OSError):
        os.waitpid(pid, os.WNOHANG)


def reap_adopted(process: Process) -> None:
    """Take the exit status of an ended server whose parent is this process, though it did not fork it.

    The first process of a container adopts all those whose parents have ended, servers among them.
    """
    pid = int(process[0])

    def gone() -> bool:
        if is_zombie_of(process, os.getpid()):
            reap(pid)
        # Some threads of it may take a little longer.
        return not is_zombie_of(process, os.getpid())

    poll(gone, 1)


def using(folder: Path) -> list[int]:
    """The processes that work in ``folder``: a server, its children, and what makes its data.

    They are told by their working directory, which a child has before it closes any file that it inherited: a
    guard that got a lock which says "all are gone" can't miss one. A process with a terminal is a person's who
    looks around there, so it is left out.
    """
    if not has_proc():
        return [pid for pid, terminal, command in _listed() if terminal[0] == "?" and str(folder) in command]
    return [pid for pid in _pids() if _works_in(pid, str(folder)) and not _has_terminal(pid)]


def lost_in(folder: re.Pattern[str]) -> list[int]:
    """The processes that work in a folder of such a name, which somebody has removed under them."""
    if not has_proc():
        return [pid for pid, terminal, command in _listed() if terminal[0] == "?" and folder.search(command)]
    places = ((pid, _place(pid)) for pid in _pids())
    return [pid for pid, place in places if place.endswith(GONE) and folder.search(place) and not _has_terminal(pid)]


def runs_from(folder: Path) -> bool:
    """Whether a process runs a program that is in ``folder``."""
    if not has_proc():
        return any(str(folder) in command for _, _, command in _listed())
    return any(_link(pid, "exe").startswith(f"{folder.resolve()}/") for pid in _pids())


def end_all(find: Callable[[], Collection[int]]) -> None:
    """Send SIGKILL to what ``find`` finds until it finds nothing, and wait until all of these are gone.

    A process that is killed gives up its working directory and its memory a moment before it is gone. One look is
    not enough: the shell that starts a server may end while it is looked at, when the server was not listed yet.

    :raises TimeoutError: if some are still there after 10 s.
    """
    killed: dict[int, Process] = {}
    found_nothing = 0

    def gone() -> bool:
        nonlocal found_nothing
        pids = [pid for pid in find() if pid != os.getpid()]
        found_nothing = 0 if pids else found_nothing + 1
        for pid in pids:
            killed.setdefault(pid, myself(pid))
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        for pid in killed:
            reap(pid)
        return found_nothing > 1 and not any(map(alive, killed.values()))

    if not poll(gone, PATIENCE, interval=0.002):
        left = sorted({*(pid for pid, process in killed.items() if alive(process)), *find()})
        raise TimeoutError(f"Processes {', '.join(map(str, left))} did not end after SIGKILL.")


def ask_to_end(process: Process, seconds: float = 3.0) -> None:
    """Send SIGINT, at which PostgreSQL and Redis end in good order, and wait for that."""
    pid = int(process[0])
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGINT)

    def ended() -> bool:
        reap(pid)
        return not alive(process)

    poll(ended, seconds)


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir(PROC) if name.isdigit())


def _works_in(pid: int, folder: str) -> bool:
    place = _place(pid)
    return place.removesuffix(GONE) == folder or place.startswith(f"{folder}/")


def _place(pid: int) -> str:
    """The working directory of a process; "" if it has ended, or is another user's."""
    return _link(pid, "cwd")


def _link(pid: int, name: str) -> str:
    try:
        return os.readlink(f"{PROC}/{pid}/{name}")
    except OSError:
        return ""


def _has_terminal(pid: int) -> bool:
    try:
        # The name, second in the line, may hold spaces and brackets; the terminal is field 7 of proc(5).
        fields = PROC.joinpath(str(pid), "stat").read_text(encoding="latin-1").rpartition(")")[2].split()
    except OSError:
        return False
    return fields[4] != "0"


def _listed() -> Iterator[tuple[int, str, str]]:
    answer = subprocess.run(
        ["ps", "-axww", "-o", "pid=,tty=,command="], capture_output=True, text=True, errors="replace", check=False
    )
    for line in answer.stdout.splitlines():
        pid, terminal, command = line.split(maxsplit=2)
        yield int(pid), terminal, command
