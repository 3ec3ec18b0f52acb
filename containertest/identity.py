"""To which run a process belongs: by the id that its ancestors handed down, or that a user has given.

Such an id may have any characters and any length. What is named after the run (its folder, containers, data folders)
has `name_of` the id.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys

from containertest.processes import Process, myself

__all__ = ["VARIABLE", "given_id", "identify", "name_of"]

#: The variable by which a run hands its id to its descendants.
VARIABLE = "CONTAINERTEST_SESSION"
#: The variable by which pytest-xdist tells its workers which test run they belong to.
XDIST = "PYTEST_XDIST_TESTRUNUID"

#: Ids that are names as they are. No dot and no underscore: what we make of others has one.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
#: Ids that name the run's first process: its pid and when it started, see `containertest.processes.started`.
_PROCESS = re.compile(r"([0-9]{1,10})-([0-9]+|[^/]+:[^/]+)")
#: Characters of an id that can still be read in its name.
READABLE = 20


def identify() -> tuple[str, Process]:
    """The name of the run that this process belongs to, and the run's first process."""
    identity, root = given_id()
    return name_of(identity), root


def given_id() -> tuple[str, Process]:
    """The id of the run that this process belongs to, as it is handed down, and the run's first process."""
    if given := os.environ.get(VARIABLE):
        found = _PROCESS.fullmatch(given)
        return given, [found[1], found[2]] if found else myself()
    if (xdist := os.environ.get(XDIST)) is not None:
        root = _controller()
        return f"xdist-{xdist}" if xdist else "-".join(root), root
    root = _parent() or myself()
    return "-".join(root), root


def name_of(identity: str) -> str:
    """The id itself where it is short and plain, else its beginning and a digest: two ids never have one name."""
    if _PLAIN.fullmatch(identity):
        return identity
    digest = hashlib.sha256(os.fsencode(identity)).hexdigest()[:20]
    return f"{re.sub('[^A-Za-z0-9]+', '-', identity[:READABLE]).strip('-') or 'run'}_{digest}"


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
