"""``containertest prune``: remove what dead or kept runs left, and nothing else."""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path

from containertest import backends
from containertest.session import Session, base_folder, bury_dead_runs, folders, guard_log, read_state, remove_base
from containertest.wait import poll

__all__ = ["everything"]

#: Seconds that the guards of the runs to be removed get.
PATIENCE = 60.0


def everything() -> int:
    """Remove the runs without a living process, the servers kept for a next run, and the caches.

    :return: 0, or 1 when something could not be removed.
    """
    runs = [*bury_dead_runs(), *filter(_release_kept, folders())]
    gone = poll(lambda: not any(run.exists() for run in runs), PATIENCE)
    for run in runs:
        print(f"{'still there' if run.exists() else 'removed'}: run {run.name}")
        if run.exists() and (said := guard_log(run).rstrip()):
            print(said)
    for name in backends.NAMES:
        module = importlib.import_module(backends.NAMES[name][0])
        for line in getattr(module, "prune", list)():
            print(line)
    remove_base(base_folder())
    return 0 if gone else 1


def _release_kept(folder: Path) -> bool:
    """Tell the guard of a run whose servers only stay for the next one that the time is up."""
    if not read_state(folder).get("idle"):
        return False
    with contextlib.suppress(FileNotFoundError), Session(folder, -1).state() as state:
        state["prune"] = bool(state.get("idle"))
        return bool(state["prune"])
    return False
