"""Who runs a server, what he may reach, and which folders can be trusted.

PostgreSQL refuses to run as root. Then its programs run as another user, who can't enter root's private folders;
and what root runs or copies must come from folders that nobody else can change.
"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from containertest.errors import BackendUnavailable

__all__ = ["ServerUser", "is_own", "is_trusted", "own_folder", "server_user"]


@dataclass(frozen=True)
class ServerUser:
    """The user that root gives a server's programs to."""

    name: str
    uid: int
    gid: int

    def popen_arguments(self) -> dict[str, Any]:
        return {"user": self.uid, "group": self.gid, "extra_groups": ()}

    def may_enter(self, folder: Path) -> bool:
        """Whether this user can go into ``folder``, by the mode bits of it and of all above it."""
        real = folder.resolve()
        return all(self._has(path.stat(), 0o1) for path in (real, *real.parents))

    def may_read(self, file: Path) -> bool:
        return self.may_enter(file.resolve().parent) and self._has(file.stat(), 0o4)

    def _has(self, found: os.stat_result, bit: int) -> bool:
        shift = 6 if found.st_uid == self.uid else 3 if found.st_gid == self.gid else 0
        return bool(found.st_mode >> shift & bit)


def server_user(as_root: bool) -> ServerUser | None:
    """The user to run a server as, or None for the user of this process.

    :param as_root: whether the server may run as root.
    :raises BackendUnavailable: if it may not, this is root, and there is no user to change to; or if this user
        has no name, as happens in containers.
    """
    if as_root or os.geteuid() != 0:
        if not as_root:
            _check_name(os.geteuid())
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return ServerUser(name, entry.pw_uid, entry.pw_gid)
    raise BackendUnavailable(
        "The server must not run as root, and there is neither a user postgres nor nobody to run it as.\n"
        "Run the tests as another user, or add one: useradd --system postgres"
    )


def _check_name(uid: int) -> None:
    """PostgreSQL's programs, which are those that may not run as root, look their user up."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        raise BackendUnavailable(
            f"The server's programs want a user with a name, but the user id {uid} of this process has none.\n"
            f"Run the tests as a user of /etc/passwd, or add one: useradd --uid {uid} tester"
        ) from None


def is_trusted(folder: Path) -> bool:
    """Whether nobody but root and this user can replace ``folder``, by it or by anything above it.

    In a folder with the sticky bit, such as /tmp, others can't rename what isn't theirs.
    """
    real = folder.resolve()
    found = [path.stat() for path in (real, *real.parents)]
    return all(
        status.st_uid in (0, os.geteuid()) and (not status.st_mode & 0o002 or status.st_mode & stat.S_ISVTX)
        for status in found
    )


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
