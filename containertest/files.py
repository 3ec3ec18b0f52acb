"""Files that users name: where they are, and a message that helps when they are not there."""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from containertest.errors import ContainerTestError


def working_folders() -> list[Path]:
    """The working folder; none when it has been removed, or can't be reached any more."""
    try:
        return [Path.cwd()]
    except OSError:
        return []


def locate(path: str | os.PathLike[str], folders: Sequence[Path], error: type[ContainerTestError], what: str) -> Path:
    """Return the file or folder ``path``: absolute, or in the first of ``folders`` that has it.

    Raises ``error`` with the folders looked in; ``what`` says there what was looked for.
    """
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        raise error(f"{what}: {path!r} is not the path of a file; several are named one by one.")
    candidates = list(dict.fromkeys(Path(folder, path) for folder in folders or [Path()]))
    for candidate in candidates:
        # Not Path.exists(), which raises an error for a name that is too long, or in a folder closed to this user.
        if os.path.exists(candidate):
            return candidate
    raise error(f"{what} not found: {os.fspath(path)}\n{_looked_in(path, candidates)}{_similar(candidates)}")


def read_text(path: Path, error: type[ContainerTestError]) -> str:
    """Return a file's text, which is UTF-8; a byte order mark at its start is left out. Raises ``error``."""
    return decoded(path, read_bytes(path, error), error)


def read_bytes(path: Path, error: type[ContainerTestError]) -> bytes:
    """Return a file's content. What is no file is not opened: a pipe would be waited for. Raises ``error``."""
    if path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "a pipe, a socket or a device"
        raise error(f"{path} is {what}, but must be a file: what comes from a program has to be written to one first.")
    try:
        return path.read_bytes()
    except OSError as problem:
        raise error(f"{path}: can't be read: {problem.strerror}") from problem


def decoded(path: Path, content: bytes, error: type[ContainerTestError]) -> str:
    """Return the text of a file's content, which is UTF-8. Raises ``error``."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        byte = content[problem.start]
        raise error(f"{path}, line {line}: not UTF-8 (byte 0x{byte:02x}). Save the file as UTF-8.") from None


def _looked_in(path: str | os.PathLike[str], candidates: list[Path]) -> str:
    if Path(path).is_absolute():
        return "The path is absolute: no other folder was looked in."
    folders = [str(candidate)[: -len(str(Path(path)))].rstrip(os.sep) or "." for candidate in candidates]
    looked = [f"  {Path(folder).absolute()}" for folder in folders]
    return "\n".join(["Looked in:", *looked, "Give a path relative to one of these, or an absolute one."])


def _similar(candidates: list[Path]) -> str:
    """Say which file of those folders has nearly that name."""
    for candidate in candidates:
        with contextlib.suppress(OSError, ValueError):
            names = sorted(os.listdir(candidate.parent))
            close = difflib.get_close_matches(candidate.name, names, n=1, cutoff=0.6)
            if close:
                return f"\nDid you mean {candidate.with_name(close[0])}?"
    return ""
