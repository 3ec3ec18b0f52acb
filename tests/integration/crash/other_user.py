"""Does things as another user of this machine: a made-up one, in a forked child."""

from __future__ import annotations

import os
import pickle
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

__all__ = ["UID", "as_other_user", "readable"]

#: A user that no machine has.
UID = 54321

_T = TypeVar("_T")


def as_other_user(function: Callable[[], _T]) -> _T:
    """Call ``function`` as `UID` and return its result. Only root can. Everything must be imported before."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(UID)
            os.setuid(UID)
            result: object = function()
        except BaseException as error:
            result = RuntimeError(f"{type(error).__name__}: {error}")
        try:
            with open(writing, "wb") as out:
                pickle.dump(result, out)
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answer:
        content = answer.read()
    os.waitpid(pid, 0)
    found: _T = pickle.loads(content)
    if isinstance(found, RuntimeError):
        raise found
    return found


def readable(folders: Iterable[Path]) -> list[str]:
    """What this process can read below ``folders``: the files, and the folders that it can list."""
    return [path for folder in folders for path in _readable(folder)]


def _readable(folder: Path) -> Iterator[str]:
    try:
        names = os.listdir(folder)
    except OSError:
        return
    yield f"{folder}/"
    for name in names:
        path = folder / name
        try:
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                yield from _readable(path)
            elif stat.S_ISREG(mode):
                path.open("rb").close()
                yield str(path)
            else:
                yield f"{path} ({stat.filemode(mode)})"
        except OSError:
            continue
