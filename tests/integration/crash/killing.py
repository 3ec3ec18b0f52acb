"""SIGKILL for servers and single PostgreSQL processes, on this machine or in a container of it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from containertest.wait import poll

__all__ = ["kill_postgres_process", "kill_server"]

PATIENCE = 60.0


def kill_server(pid: int) -> None:
    """Kill a server, and wait until its children have noticed, which until then go on to serve their clients."""
    family = [pid, *(int(fields["Pid"]) for fields in _children(pid))]
    os.kill(pid, signal.SIGKILL)
    _wait_for_the_end(family)


def kill_postgres_process(postmaster: int, number: int) -> None:
    """Kill the child of ``postmaster`` that calls itself ``number``, as ``pg_backend_pid()`` tells it.

    Waits until ``postmaster`` has ended all its other children too, as it then does.
    """
    family = list(_children(postmaster))
    (victim,) = (fields for fields in family if fields["NSpid"].split()[-1] == str(number))
    os.kill(int(victim["Pid"]), signal.SIGKILL)
    _wait_for_the_end([int(fields["Pid"]) for fields in family])


def _wait_for_the_end(pids: list[int]) -> None:
    if not poll(lambda: not any(map(_lives, pids)), PATIENCE):
        raise AssertionError(f"still there: {[pid for pid in pids if _lives(pid)]}")


def _children(pid: int) -> Iterator[dict[str, str]]:
    """The lines of ``/proc/<pid>/status`` of each child; see proc(5)."""
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
            if fields["PPid"].strip() == str(pid):
                yield fields


def _lives(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="latin-1")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"
