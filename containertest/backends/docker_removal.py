"""Removes containers: one by name, those of a run, and those that have lost their run."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from containertest.backends.docker_engine import Engine, tolerating
from containertest.backends.docker_labels import LABEL, mine
from containertest.backends.docker_orphans import is_orphan
from containertest.errors import BackendUnavailable
from containertest.wait import now

__all__ = ["remove_all", "remove_container", "remove_orphans"]

#: Seconds between the two looks that must find nothing before a run counts as removed.
SECOND_LOOK = 0.3
#: Seconds that the engine may take to remove a run's containers.
REMOVE_TIMEOUT = 30.0


def remove_container(engine: Engine, name: str) -> None:
    """Remove a container and its anonymous volumes, unless it is gone or going already."""
    with engine.asking(f"remove the container {name}") as api:
        with tolerating(404, 409):
            api.remove_container(name, force=True, v=True)


def remove_all(engine: Engine, session: str, names: Iterable[str]) -> None:
    """Look until two looks find nothing: the engine may still be creating a container for a killed process."""
    filters: list[dict[str, Any]] = [
        {"label": [f"{LABEL}.session={session}"]},
        *({"name": f"^/{name}$"} for name in names),
    ]
    deadline = now() + REMOVE_TIMEOUT
    quiet = 0
    with ThreadPoolExecutor(8) as threads:
        while quiet < 2:
            found = _find(engine, filters)
            if now() > deadline:
                raise BackendUnavailable(f"Docker does not get rid of {', '.join(sorted(found))}.\nTry again later.")
            list(threads.map(lambda identity: remove_container(engine, identity), found))
            quiet = 0 if found else quiet + 1
            time.sleep(SECOND_LOOK if quiet == 1 else 0.02)


def _find(engine: Engine, filters: Iterable[Mapping[str, Any]]) -> set[str]:
    with engine.asking("list containers") as api:
        return {found["Id"] for wanted in filters for found in api.containers(all=True, filters=wanted)}


def remove_orphans(engine: Engine) -> list[str]:
    """Remove the containers that no guard can know of, since their run's folder is gone; return their names."""
    with engine.asking("list containers") as api:
        found = {info["Id"]: info for info in api.containers(all=True, filters=mine())}
    orphans = {key: info for key, info in found.items() if is_orphan(info["Labels"])}
    for identity in orphans:
        remove_container(engine, identity)
    return sorted(info["Names"][0].lstrip("/") for info in orphans.values())
