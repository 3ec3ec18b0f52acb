"""Copies of programs that the user of a server can't reach, such as those of a wheel below ``/root``.

Only root needs them. They are made once, in a folder that only root can write to, under a name that changes with
the programs; nobody's folder is opened to others for it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from containertest.backends.cache import own_folder
from containertest.errors import BackendUnavailable

__all__ = ["copied_programs", "copies_candidates", "copies_folder"]

_SYSTEM = Path("/var/cache/containertest")


def copies_folder() -> Path | None:
    """Where copies are kept, readable by all; None if there is no safe place."""
    return next((folder for path in copies_candidates() if (folder := own_folder(path, 0o755))), None)


def copies_candidates() -> list[Path]:
    """Where `copies_folder` may be, best first."""
    return [_SYSTEM, Path(tempfile.gettempdir()) / "containertest-programs"]


def copied_programs(programs: Mapping[str, Path], title: str, setting: str) -> dict[str, Path]:
    """Copy ``programs``, which are in one folder, with what they need; return where the copies are.

    :raises BackendUnavailable: if that can't be done.
    """
    folder = next(iter(programs.values())).parent
    cache = copies_folder()
    try:
        if cache is None:
            raise PermissionError(f"neither {_SYSTEM} nor {tempfile.gettempdir()} can be used for it")
        return _copied(programs, cache)
    except OSError as error:
        raise BackendUnavailable(
            f"{title} does not run as root, and its programs in {folder} can't be reached by another user; copying "
            f"them failed: {error}.\nRun the tests as another user, or set {setting} to programs that all can reach."
        ) from error


def _copied(programs: Mapping[str, Path], cache: Path) -> dict[str, Path]:
    top = _top(next(iter(programs.values())))
    states = [(str(path), status.st_size, status.st_mtime_ns) for path in programs.values() if (status := path.stat())]
    entry = cache / f"programs-{hashlib.sha256(json.dumps(states).encode()).hexdigest()[:20]}"
    if not entry.is_dir():
        new = cache / f"new-{secrets.token_hex(8)}"
        try:
            for source in dict.fromkeys(_needed(programs)):
                _copy(source, new / source.relative_to(top))
            _open_to_all(new)
            if not entry.is_dir():
                new.rename(entry)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return {name: entry / path.relative_to(top) for name, path in programs.items()}


def _site(program: Path) -> Path | None:
    """The folder of Python packages that a program is in, if any."""
    return next((path for path in program.parents if path.name in ("site-packages", "dist-packages")), None)


def _top(program: Path) -> Path:
    return _site(program) or program.parent.parent


def _needed(programs: Mapping[str, Path]) -> Iterator[Path]:
    """The programs, their libraries, and PostgreSQL's shared files, which it finds from where it is itself.

    Nothing else of those folders: they may be somebody's private ``~/bin`` and ``~/share``.
    """
    yield from programs.values()
    server = next(iter(programs.values()))
    prefix = server.parent.parent
    for pattern in ("lib/*.so*", "lib/*.dylib", "lib/postgresql"):
        yield from prefix.glob(pattern)
    for share in ("share", "share/postgresql"):
        if (prefix / share / "postgres.bki").is_file():
            yield prefix / share
    if (site := _site(server)) is not None:
        yield from site.glob(f"{server.relative_to(site).parts[0]}.libs")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)


def _open_to_all(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
