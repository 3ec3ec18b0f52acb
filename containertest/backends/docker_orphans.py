"""Which containers have lost their run: nobody can know of them any more but by their labels.

That a run's folder is not to be found says nothing by itself: a process with a private ``/tmp``, as systemd's
``PrivateTmp`` makes one, has its folder where only its own kind can see it. So it counts only for those who see the
same file system as the run did; after a reboot no run is left whatever anybody sees.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from containertest.processes import boot_id

__all__ = ["is_orphan", "point_of_view"]

_BOOT, _MOUNTS, _FOLDER = "containertest.boot", "containertest.mounts", "containertest.folder"


def point_of_view() -> dict[str, str]:
    """Labels that tell from where a container's run is seen: this boot, and this view of the file system."""
    return {_BOOT: boot_id(), _MOUNTS: _mounts()}


def is_orphan(labels: Mapping[str, str]) -> bool:
    """Whether a container of this user and machine with these labels belongs to no run any more."""
    here = point_of_view()
    if any(labels.get(name) is None for name in here):
        return False
    if labels[_BOOT] != here[_BOOT]:
        return True
    return labels[_MOUNTS] == here[_MOUNTS] and not Path(labels[_FOLDER]).exists()


def _mounts() -> str:
    """This process' mount namespace, see namespaces(7); "" where there is no such thing."""
    with suppress(OSError):
        return os.readlink("/proc/self/ns/mnt")
    return ""
