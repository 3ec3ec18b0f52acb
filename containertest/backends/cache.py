"""This user's folder for what is kept from one run to the next, and which folders can be trusted."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from containertest.trust import is_trusted

__all__ = ["cache_candidates", "cache_folder", "is_own", "is_trusted", "own_folder"]


def cache_folder() -> Path | None:
    """This user's folder for things to keep, or None if there is no place for it that is only his.

    Under ``sudo`` HOME may be somebody else's: then root's own is taken.
    """
    return next(filter(None, map(own_folder, cache_candidates())), None)


def cache_candidates() -> list[Path]:
    """Where `cache_folder` may be, best first."""
    return [base / "containertest" for base in _cache_bases()]


def _cache_bases() -> Iterator[Path]:
    if os.path.isabs(given := os.environ.get("XDG_CACHE_HOME", "")):
        yield Path(given)
    if os.path.isabs(home := os.environ.get("HOME", "")):
        yield Path(home, ".cache")
    try:
        yield Path(pwd.getpwuid(os.geteuid()).pw_dir, ".cache")
    except KeyError:  # a container may run as a number without a name
        return


def is_own(folder: Path) -> bool:
    """Whether ``folder`` is there, and this user's alone to write to and to replace."""
    try:
        found = folder.lstat()
        mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
        return mine and is_trusted(folder.parent)
    except OSError:
        return False


def own_folder(folder: Path, mode: int = 0o700) -> Path | None:
    """Make ``folder`` if need be; None if that can't be, or if it `is_own` not."""
    try:
        folder.parent.mkdir(mode=mode, parents=True, exist_ok=True)
        if not folder.is_dir() and is_trusted(folder.parent):
            folder.mkdir(mode=0o700)
        if not is_own(folder):
            return None
        folder.chmod(mode)
    except OSError:
        return None
    return folder
