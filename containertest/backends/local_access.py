"""Who runs a server, and what he may reach.

PostgreSQL refuses to run as root. Then its programs run as another user, who can't enter root's private folders.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from containertest.errors import BackendUnavailable

__all__ = ["ServerUser", "server_user"]


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
