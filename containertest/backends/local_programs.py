"""Finds the programs of a server and their version."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from containertest.backends.local_access import ServerUser
from containertest.backends.local_copies import copied_programs
from containertest.errors import BackendUnavailable, ConfigError
from containertest.spec import LocalSpec

__all__ = ["Programs", "environment", "find"]

#: Variables that programs of a server get: how to find libraries, and nothing that could change its behaviour.
_PASSED = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")


@dataclass(frozen=True)
class Programs:
    """Programs that were found.

    :param paths: name, as in `LocalSpec.programs`, -> file.
    :param version: as numbers, and ``full_version`` as the server says it.
    :param origin: the folder they were found in; they may have been copied from there.
    """

    paths: dict[str, Path]
    version: tuple[int, ...]
    full_version: str
    origin: Path

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.version))} ({self.origin})"

    def reachable_by(self, user: ServerUser | None, title: str, setting: str) -> Programs:
        """These programs, or copies of them where ``user`` can't reach them."""
        if user is None or all(user.may_read(path) for path in self.paths.values()):
            return self
        paths = copied_programs({name: path.resolve() for name, path in self.paths.items()}, title, setting)
        return Programs(paths, self.version, self.full_version, self.origin)


def environment(programs: Programs) -> dict[str, str]:
    """The environment of a server: English messages, UTC as in a container, no ``PG…`` variables."""
    passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
    server = next(iter(programs.paths.values()))
    if server.parent != programs.origin:
        passed["LD_LIBRARY_PATH"] = f"{server.parent.parent / 'lib'}:{passed.get('LD_LIBRARY_PATH', '')}".rstrip(":")
    return {**passed, "LC_ALL": "C", "TZ": "UTC"}


def find(local: LocalSpec, title: str) -> Programs:
    """Find the programs that ``local`` asks for.

    :raises ConfigError: if the setting names something that has not these programs.
    :raises BackendUnavailable: if there are none, or only ones that are too old or don't run.
    """
    if local.chosen:
        return _version_of(_chosen(local, local.chosen), local, title)
    looked, failures = [], []
    for folder in local.folders():
        looked.append(str(folder))
        if (paths := _in_folder(folder, local.programs)) is None:
            continue
        try:
            return _version_of(paths, local, title)
        except BackendUnavailable as error:
            failures.append(str(error).splitlines()[0])
    if failures:
        raise BackendUnavailable("\n".join([*failures, *_remedy(local)]))
    where = f"in none of {', '.join(looked)}" if looked else "in none of the usual folders"
    sentence = f"No local {title} was found: {_names(local.programs)} is {where}."
    raise BackendUnavailable("\n".join([sentence, *_remedy(local)]))


def _chosen(local: LocalSpec, chosen: str) -> dict[str, Path]:
    path = Path(os.path.abspath(os.path.expanduser(chosen)))
    folder = path if os.path.isdir(path) else path.parent
    paths = _in_folder(folder, local.programs)
    if paths is not None and os.path.isfile(path):
        paths[local.programs[0]] = path
    if paths is None or not os.path.exists(path):
        state = "which has not" if os.path.exists(path) else "which does not exist; it must be a folder or a file with"
        raise ConfigError(
            f"{local.setting} is {chosen!r}, {state} {_names(local.programs)}.\n"
            f"Set it to the folder that has {_names(local.programs)}, or unset it to have the usual folders searched."
        )
    return paths


def _in_folder(folder: Path, names: Iterable[str]) -> dict[str, Path] | None:
    """The programs in ``folder``, or None if one is missing. A name may have alternatives: ``one|other``."""
    found = {name: next(_executables(folder, name.split("|")), None) for name in names}
    paths = {name.partition("|")[0]: path for name, path in found.items() if path is not None}
    return paths if len(paths) == len(found) else None


def _executables(folder: Path, names: Iterable[str]) -> Iterator[Path]:
    return (path for name in names if os.path.isfile(path := folder / name) and os.access(path, os.X_OK))


def _version_of(paths: dict[str, Path], local: LocalSpec, title: str) -> Programs:
    server = next(iter(paths.values()))
    try:
        answer = subprocess.run(
            [server, "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=30,
            cwd="/",
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise _useless(f"{server} does not run: {error}.", local) from error
    number = re.search(r"\d+(\.\d+)*", answer.stdout)
    if answer.returncode or number is None:
        said = " ".join(answer.stdout.split())[:300]
        raise _useless(f"{server} --version ended with status {answer.returncode}: {said}.", local)
    version = tuple(map(int, number[0].split(".")))
    if version < tuple(local.minimum):
        needed = ".".join(map(str, local.minimum))
        raise _useless(f"{server} is {title} {number[0]}, but {needed} or newer is needed.", local)
    return Programs(paths, version, answer.stdout.strip(), server.parent)


def _useless(sentence: str, local: LocalSpec) -> BackendUnavailable:
    return BackendUnavailable("\n".join([sentence, *_remedy(local)]))


def _remedy(local: LocalSpec) -> list[str]:
    return [*local.remedy, f"or set {local.setting} to the folder that has {_names(local.programs)}"]


def _names(names: Iterable[str]) -> str:
    return " and ".join(name.replace("|", " or ") for name in names)
