"""The folder of one local server, with all that is its own::

    containertest-data-<session>-<random>/  belongs to this user
        session-<session>                   says whose it is; an empty file, so that it is there whole or not at all
        log                                 what the server says
        password                            while the data are made
        data/                               belongs to who runs the server

It is removed with the processes that work in it and the shared memory they leave. Its name has the run's, since a
process shows where it works even when somebody, such as a cleaner of TMPDIR, has removed the folder under it.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from containertest.backends import local_memory
from containertest.backends.local_access import ServerUser
from containertest.backends.local_processes import ask_to_end, end_all, has_proc, lost_in, using
from containertest.errors import BackendUnavailable
from containertest.processes import Process, alive

__all__ = ["PREFIX", "DataFolder", "end_lost", "of_session"]

PREFIX = "containertest-data-"
MEMORY = Path("/dev/shm")
#: Memory that must be free for data to be put there; a container often has a /dev/shm of 64 MB.
ROOM = 1 << 30


@dataclass(frozen=True)
class DataFolder:
    """The folder of one server of the run ``session``."""

    path: Path
    session: str

    @classmethod
    def choose(cls, session: str, user: ServerUser | None) -> DataFolder:
        """Think of a new folder, which ``user`` can reach; nothing is made yet.

        :raises BackendUnavailable: if there is no place for it.
        """
        for base in _bases():
            if os.access(base, os.W_OK | os.X_OK) and (user is None or user.may_enter(base)):
                return cls(base / f"{PREFIX}{session}-{secrets.token_hex(8)}", session)
        looked = ", ".join(map(str, _bases()))
        raise BackendUnavailable(
            f"There is no folder for a server's data that {user.name if user else 'this user'} can use: "
            f"looked at {looked}.\nSet TMPDIR to such a folder."
        )

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def log(self) -> Path:
        return self.path / "log"

    @property
    def password_file(self) -> Path:
        return self.path / "password"

    @property
    def marker(self) -> Path:
        return self.path / f"session-{self.session}"

    def make(self, user: ServerUser | None) -> None:
        """Make the folder, which must not exist."""
        self.path.mkdir(mode=0o700)
        self.write(self.marker, "")
        if user is not None:
            self.path.chmod(0o711)

    def make_data(self, user: ServerUser | None) -> None:
        """Make an empty data folder, in place of any that is there."""
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir(mode=0o700)
        if user is not None:
            os.chown(self.data, user.uid, user.gid)

    def write(self, file: Path, content: str, user: ServerUser | None = None) -> None:
        """Write a file that only this user, or ``user``, can read."""
        file.unlink(missing_ok=True)
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
            if user is not None:
                os.fchown(out.fileno(), user.uid, user.gid)
            out.write(content)

    def inode(self) -> list[int] | None:
        """Device and inode of the data, by which PostgreSQL's shared memory is found."""
        try:
            found = self.data.lstat()
        except OSError:
            return None
        return [found.st_dev, found.st_ino]

    def is_ours(self) -> bool:
        """Whether this folder is there, this user's, and of this run; or was just made, and is still empty."""
        try:
            found = self.path.lstat()
            mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
            return mine and self.path.name.startswith(PREFIX) and (self.marker.is_file() or not os.listdir(self.path))
        except OSError:
            return False

    def remove(self, process: Process | None, inode: list[int] | None) -> None:
        """End all processes of this folder, and remove it and the shared memory they leave.

        :param process: the server, if it is known, and ``inode`` what `inode` said.
        :raises TimeoutError: if a process doesn't end.
        :raises OSError: if files can't be removed.
        """
        ours = self.is_ours()

        def find() -> list[int]:
            known = [int(process[0])] if process is not None and alive(process) else []
            return list({*known, *(using(self.path) if ours else ())})

        posix = local_memory.posix_segments(find())
        if process is not None and alive(process) and not has_proc():
            ask_to_end(process)
        end_all(find)
        if inode := (self.inode() if ours else None) or inode:
            local_memory.release(inode[0], inode[1], posix)
        if ours:
            self._delete()

    def _delete(self) -> None:
        """The marker goes last, so that a removal that was broken off can be done again."""
        for name in os.listdir(self.path):
            if name != self.marker.name:
                _delete(self.path / name)
        with contextlib.suppress(FileNotFoundError):
            self.marker.unlink()
        with contextlib.suppress(FileNotFoundError):
            self.path.rmdir()


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def of_session(session: str) -> Iterator[DataFolder]:
    """The folders of a run, wherever a server's folder may be."""
    for base in dict.fromkeys((MEMORY, *_bases())):
        # Not Path.glob(), which raises an error when somebody removes a folder while it looks.
        for marker in glob.glob(f"{glob.escape(str(base))}/{PREFIX}*/session-{session}"):
            yield DataFolder(Path(marker).parent, session)


def end_lost(session: str) -> None:
    """End the processes of a run whose folders somebody has removed.

    :raises TimeoutError: if one doesn't end.
    """
    name = re.compile(rf"/{PREFIX}{re.escape(session)}-[0-9a-f]{{16}}\b")
    pids = lost_in(name)
    posix, data = local_memory.posix_segments(pids), local_memory.data_folders(pids)
    end_all(lambda: lost_in(name))
    for device, inode in data:
        local_memory.release(device, inode, posix)


def _bases() -> list[Path]:
    """Where data may be, best first: in memory, where a database is cloned in half the time, if there is room.

    A TMPDIR that somebody has set is obeyed.
    """
    bases = [Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]
    if sys.platform == "linux" and not os.environ.get("TMPDIR") and _free(MEMORY) >= ROOM:
        bases.insert(0, MEMORY)
    return [base for base in dict.fromkeys(bases) if os.path.isdir(base)]


def _free(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0
