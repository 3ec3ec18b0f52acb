"""One server as a process: making its data, starting it, looking after it."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from containertest.backends.base import Handle, Owner
from containertest.backends.cache import cache_folder
from containertest.backends.local_access import ServerUser
from containertest.backends.local_data import DataCache
from containertest.backends.local_folder import DataFolder
from containertest.backends.local_processes import reap_adopted
from containertest.backends.local_programs import Programs, environment
from containertest.errors import BackendUnavailable, last_lines
from containertest.processes import alive, default_signals, has_odd_signals, myself
from containertest.spec import Endpoint, LocalPlace, ServerSpec
from containertest.wait import now

__all__ = ["Launch", "LocalServer", "free_port"]

HOST = "127.0.0.1"
#: Seconds that one command which makes data may take.
LONGEST = 300
#: Seconds after its start within which a server says that it did not get its port.
EARLY = 30
_TAKEN = "Address already in use"


class LocalServer:
    """A server process, started by this process or by another one of the run."""

    backend = "local"

    def __init__(self, handle: Handle, endpoint: Endpoint) -> None:
        self.handle = handle
        self.endpoint = endpoint
        #: Starts it anew if it did not get its port; only in the process that started it.
        self.again: Callable[[], bool] | None = None
        self._last_log: str | None = None

    @property
    def folder(self) -> DataFolder:
        return DataFolder(Path(self.handle["folder"]), self.handle["session"])

    def began(self, pid: int, endpoint: Endpoint) -> None:
        """Take note of the process that is the server now."""
        self.endpoint = endpoint
        self.handle["process"] = myself(pid)

    def alive(self) -> bool:
        process = self.handle.get("process")
        if process is None:
            return False
        if alive(process):
            return True
        reap_adopted(process)
        return self.again is not None and self.again()

    def logs(self, tail: int | None = None) -> str:
        text = self._last_log
        if text is None:
            try:
                text = self.folder.log.read_text(errors="replace")
            except (OSError, KeyError):
                text = ""
        return text if tail is None else "\n".join(text.splitlines()[-tail:])

    def stop(self) -> None:
        if self._last_log is None:
            self._last_log = self.logs()
        self.again = None
        if "folder" in self.handle:
            self.folder.remove(self.handle["process"], self.handle["inode"])
            if self.handle["process"] is not None:
                reap_adopted(self.handle["process"])


@dataclass
class Launch:
    """What it takes to start one server in ``folder``."""

    spec: ServerSpec
    owner: Owner
    programs: Programs
    user: ServerUser | None
    folder: DataFolder
    server: LocalServer
    #: How often another port is tried, when somebody took the one that was free a moment ago.
    attempts: int = 5
    _password: str = field(default="", repr=False)
    _start: float = 0.0

    def begin(self) -> None:
        """Make the data and start the server."""
        self.folder.make(self.user)
        self._password = self._make_data()
        self._start = now()
        self._run()
        self.server.again = self._again

    def _make_data(self) -> str:
        """Make the data, and return the password in them."""
        if self.spec.local.initialise is None:
            self.folder.make_data(self.user)
            return self.spec.password
        cache = self._cache()
        if (password := cache.take(self.folder.data, self.user)) is not None:
            return password
        # What is kept must not tell a password that is used elsewhere.
        password = secrets.token_urlsafe(24) if cache.works else self.spec.password
        self.folder.make_data(self.user)
        self.folder.write(self.folder.password_file, f"{password}\n", self.user)
        for command in self.spec.local.initialise(self._place(0, password)):
            self._finish(command)
        self.folder.password_file.unlink()
        cache.keep(self.folder.data, password)
        return password

    def _cache(self) -> DataCache:
        return DataCache(
            cache_folder(),
            self.spec.service,
            self.programs.full_version,
            str(self.programs.origin),
            os.uname().machine,
            self.spec.local.identity,
            self.user.name if self.user else "",
        )

    def _place(self, port: int, password: str) -> LocalPlace:
        return LocalPlace(
            programs=self.programs.paths,
            version=self.programs.version,
            data=self.folder.data,
            host=HOST,
            port=port,
            password=password,
            password_file=self.folder.password_file,
        )

    def _finish(self, command: Sequence[str]) -> None:
        process = self._popen(command)
        try:
            status = process.wait(LONGEST)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            process.kill()
            process.wait()
        if status != 0:
            ended = f"did not end in {LONGEST} s" if status is None else f"ended with status {status}"
            raise BackendUnavailable(
                f"{self.spec.title}'s data could not be made: {command[0]} {ended}.\n{last_lines(self.server.logs())}"
            )

    def _run(self) -> None:
        place = self._place(free_port(), self._password)
        for name, content in (self.spec.local.files(place) if self.spec.local.files else {}).items():
            self.folder.write(place.data / name, content, self.user)
        self.server.handle["inode"] = self.folder.inode()
        pid = self._detached([str(word) for word in self.spec.local.command(place)])
        self.server.began(pid, Endpoint(HOST, place.port, self.spec.username, place.password, self.spec.database))
        self.owner.record(dict(self.server.handle))

    def _again(self) -> bool:
        """Start on another port a server that ended because somebody else got its port."""
        lost = any("bind" in line and _TAKEN in line for line in self.server.logs().splitlines())
        if not lost or self.attempts == 0 or now() - self._start > EARLY:
            return False
        self.attempts -= 1
        try:
            self.folder.log.unlink(missing_ok=True)
            self._run()
        except OSError:
            return False
        return True

    def _detached(self, command: Sequence[str]) -> int:
        """Start a program that is no child of this process, whose tests may wait for "any child"; return its pid.

        The shell that starts it in the background ends at once.

        :raises OSError: if it can't be started.
        """
        if shutil.which(command[0]) is None:
            raise FileNotFoundError(errno.ENOENT, "There is no such program", command[0])
        with self._popen(["/bin/sh", "-c", '"$@" >&2 & echo $!', "sh", *command], stdout=subprocess.PIPE) as shell:
            said, _ = shell.communicate()
        if not said.strip().isdigit():
            raise OSError(f"/bin/sh did not start {command[0]}:\n{last_lines(self.server.logs())}")
        return int(said)

    def _popen(self, command: Sequence[str], stdout: int | None = None) -> subprocess.Popen[bytes]:
        """Run a program in the data folder: in a session of its own, where a Ctrl-C does not reach it."""
        options: dict[str, Any] = self.user.popen_arguments() if self.user else {}
        if has_odd_signals():
            # Only then: it makes the start slower.
            options["preexec_fn"] = default_signals
        log = os.open(self.folder.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            return subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log if stdout is None else stdout,
                stderr=log,
                cwd=self.folder.data,
                env=environment(self.programs),
                start_new_session=True,
                umask=0o077,
                **options,
            )
        finally:
            os.close(log)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody gets for a minute, unless he asks for it by number.

    A connection that was accepted on it, and was closed from that side first, waits in TIME_WAIT: the kernel then
    hands the port to nobody who wants any port, but a server that sets SO_REUSEADDR, as all do, can have it.
    """
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind((HOST, 0))
        # After bind(), which would else give a port that waits in this way already.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.listen(1)
        client = sockets.enter_context(socket.create_connection(listener.getsockname(), timeout=5))
        accepted, _ = listener.accept()
        accepted.close()
        client.recv(1)
        port: int = listener.getsockname()[1]
        return port
