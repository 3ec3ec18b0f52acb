"""How this library's containers and images are told from others: by labels."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

from containertest.backends.docker_orphans import point_of_view

__all__ = ["LABEL", "labels", "machine", "mine"]

LABEL = "containertest"


def machine() -> str:
    """What tells this machine from others that use the same engine, and stays the same over a reboot."""
    with suppress(OSError):
        return f"{socket.gethostname()}/{Path('/etc/machine-id').read_text().strip()}"
    return socket.gethostname()


def labels(session: str, service: str, folder: str) -> dict[str, str]:
    """The labels of a container of the run ``session``, whose folder is ``folder``."""
    return {
        LABEL: "1",
        f"{LABEL}.session": session,
        f"{LABEL}.service": service,
        f"{LABEL}.folder": folder,
        f"{LABEL}.host": machine(),
        f"{LABEL}.uid": str(os.getuid()),
        **point_of_view(),
    }


def mine(*more: str) -> dict[str, list[str]]:
    """A filter for what this user has made on this machine, and has the labels ``more``."""
    return {"label": [f"{LABEL}=1", f"{LABEL}.host={machine()}", f"{LABEL}.uid={os.getuid()}", *more]}
