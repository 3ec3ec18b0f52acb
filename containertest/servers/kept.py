"""What a run has kept for the next one (``CONTAINERTEST_KEEP_ALIVE``), and how that takes it over.

A run that is over, but whose servers stay, is marked "idle" by its guard. The new run gets its folder, under a
name of its own that is a link to it.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from containertest.processes import Process
from containertest.session import Session, State, base_folder, folders, identify, locked, read_state, working_folder

__all__ = ["Wanted", "take_over"]


@dataclass(frozen=True)
class Wanted:
    """What makes the servers of an idle run fit for a new one.

    :param key: the entry of its server in the state, or how that begins.
    :param template: how the name of its template database begins; "" for any, also none. None: no template will
        do, since what a callable among the migrations would do today can't be told from its code.
    """

    key: str
    template: str | None = ""

    def has_server(self, state: State) -> bool:
        """Whether the run has such a server, whatever its migrations were."""
        return any(name.startswith(self.key) for name in state["servers"])

    def fits(self, state: State) -> bool:
        """Whether the run has such a server, and the same migrations have run there."""
        return self.has_server(state) and (self.template == "" or self._has_template(state))

    def _has_template(self, state: State) -> bool:
        templates = (item for entry in state["servers"].values() for item in entry.get("templates", {}).items())
        prefix = self.template
        return prefix is not None and any(valid and name.startswith(prefix) for name, valid in templates)


def take_over(wanted: Wanted) -> None:
    """Let this process' run go on with an idle one that has what is ``wanted``, unless it has begun already.

    The folder stays where it is, since what its containers are labelled with must go on to name it. What a run
    in the same working folder has kept with other migrations is released: else each change of them would leave
    servers behind.
    """
    identity, root = identify()
    base = base_folder()
    # Not found: the last run's guard is removing the folder, and there is nothing to take over.
    with contextlib.suppress(FileNotFoundError), locked(base / "take-over.lock"):
        if os.path.lexists(base / identity):
            return
        idle = [folder for folder in folders() if read_state(folder).get("idle")]
        if folder := next((folder for folder in idle if _revive(folder, root, wanted)), None):
            with contextlib.suppress(FileExistsError):
                (base / identity).symlink_to(folder)
        for other in idle:
            _release_outdated(other, wanted)


def _revive(folder: Path, root: Process, wanted: Wanted) -> bool:
    with contextlib.suppress(FileNotFoundError), Session(folder, -1).state() as state:
        if state.get("idle") and not state.get("prune") and wanted.fits(state):
            state.update(idle=False, root=root, announced=[])
            return True
    return False


def _release_outdated(folder: Path, wanted: Wanted) -> None:
    with contextlib.suppress(FileNotFoundError), Session(folder, -1).state() as state:
        own = state.get("idle") and not state["kept"] and state["where"] == working_folder()
        if own and wanted.has_server(state) and not wanted.fits(state):
            state["prune"] = True
