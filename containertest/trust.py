"""Which folders nobody else can put another one in the place of."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

__all__ = ["is_trusted", "open_to_all"]


def is_trusted(folder: Path) -> bool:
    """Whether nobody but root and this user can replace ``folder``, by it or by anything above it."""
    owners = {path.stat().st_uid for path in _chain(folder)}
    return owners <= {0, os.geteuid()} and open_to_all(folder) is None


def open_to_all(folder: Path) -> Path | None:
    """The first of ``folder`` and all above it in which everybody can rename what isn't his; None if there is none.

    In a folder with the sticky bit, such as /tmp, others can't.
    """
    return next((path for path in _chain(folder) if _is_open(path.stat().st_mode)), None)


def _is_open(mode: int) -> bool:
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX


def _chain(folder: Path) -> Iterator[Path]:
    """The folder and all above it; where links lead to it, also those that hold the links."""
    here, real = folder.absolute(), folder.resolve()
    return iter(dict.fromkeys((real, *real.parents, *here.parents)))
