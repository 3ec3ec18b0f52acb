"""Which process is which: a pid alone is not enough, since pids are used again."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Process", "alive", "boot_id", "default_signals", "has_odd_signals", "is_zombie_of", "myself", "started"]

#: A process: its pid and when it started, in the kernel's own words; JSON-able. More may follow.
Process = list[str]


def started(pid: int) -> str:
    """When process ``pid`` started, as an opaque text; "" if there is none (or it is a zombie).

    Source: proc(5), fields 3 and 22 of ``/proc/<pid>/stat``; elsewhere ``ps -o lstart``.
    """
    try:
        fields = _stat(pid)
    except FileNotFoundError:
        return "" if Path("/proc/self/stat").exists() else _started_by_ps(pid)
    except (OSError, ProcessLookupError):
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _stat(pid: int | str) -> list[str]:
    """The fields of ``/proc/<pid>/stat`` after the name, which may have any character; the first is number 3."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="latin-1").rpartition(")")[2].split()


def _started_by_ps(pid: int) -> str:
    shown = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return "-".join(shown.stdout.split())


def myself(pid: int | None = None) -> Process:
    """This process, or process ``pid``."""
    number = os.getpid() if pid is None else pid
    return [str(number), started(number)]


def alive(process: Process) -> bool:
    """Whether that very process still runs."""
    return bool(process[1]) and started(int(process[0])) == process[1]


def is_zombie_of(process: Process, parent: int) -> bool:
    """Whether that very process has ended, and ``parent`` has yet to take its status; False where there is no /proc."""
    try:
        fields = _stat(process[0])
    except OSError:
        return False
    return fields[0] == "Z" and fields[1] == str(parent) and fields[19] == process[1]


#: What Python itself ignores from its start, and gives back to the programs that it starts.
_OF_PYTHON = {getattr(signal, name, None) for name in ("SIGPIPE", "SIGXFZ", "SIGXFSZ")}


def has_odd_signals() -> bool:
    """Whether signals are ignored or blocked here that a program which this process starts counts on.

    With SIGCHLD ignored, `initdb` takes each of its own children for failed.
    """
    return bool(signal.pthread_sigmask(signal.SIG_BLOCK, ())) or any(_ignored())


def default_signals() -> None:
    """Let no signal be ignored or blocked in this process, as `nohup`, ``&`` or a supervisor may have had it."""
    for number in list(_ignored()):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _ignored() -> Iterator[int]:
    return (n for n in signal.valid_signals() - _OF_PYTHON if signal.getsignal(n) is signal.SIG_IGN)


def boot_id() -> str:
    """What tells this boot of this machine from others; "" where the kernel does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
