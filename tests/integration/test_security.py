"""Nobody but the user who runs the tests can connect to the servers or find their passwords."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
import unittest
from pathlib import Path
from typing import Any

import psycopg2

from tests.integration.crash import killing
from tests.integration.crash.evidence import processes
from tests.integration.crash.other_user import UID, as_other_user, readable
from tests.integration.crash.run import Run
from tests.support import on_every_backend

#: Runs the suite, and says all it can.
TALKATIVE = """
import logging, unittest
logging.basicConfig(level=logging.DEBUG)
from tests.integration.crash import suite
def told(thing, depth=3):
    print(repr(thing), str(thing))
    for value in vars(thing).values() if hasattr(thing, "__dict__") and depth else ():
        if type(value).__module__.startswith("containertest"):
            told(value, depth - 1)
suite.Tests.test_0 = lambda self: told(suite.containers)
unittest.main(suite)
"""


class CommandLines:
    """Reads the command lines of all processes, again and again, as any user can."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> CommandLines:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._enough.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._enough.wait(0.005):
            for name in os.listdir("/proc"):
                if name.isdigit():
                    with contextlib.suppress(OSError):
                        self.seen.add(Path("/proc", name, "cmdline").read_bytes())


@on_every_backend
class Security:
    """One run, looked at by another user while it stands in the middle of a test."""

    backend: str

    @classmethod
    def setUpClass(cls: Any) -> None:
        super().setUpClass()  # type: ignore[misc]
        engine = None
        if cls.backend == "docker":
            import docker

            engine = docker.APIClient()
            cls.addClassCleanup(engine.close)
        cls.run_ = Run(cls.backend, "test", engine=engine)
        cls.addClassCleanup(cls.run_.__exit__, None, None, None)
        cls.cache = cls.run_.folder / "cache"
        with CommandLines() as cls.command_lines:
            cls.run_.start(("-c", TALKATIVE), XDG_CACHE_HOME=str(cls.cache), PYTHONUNBUFFERED="1")
            cls.run_.wait_until_reached()
        servers = cls.run_.state()["servers"]
        cls.endpoints = {key.partition("-")[0]: entry["endpoint"] for key, entry in servers.items()}
        kept = [path.read_text() for path in cls.cache.rglob("*.json")]
        cls.passwords = [endpoint["password"] for endpoint in cls.endpoints.values()]
        cls.passwords += [word for text in kept for word in text.split('"') if len(word) > 20 and word.isascii()]

    def setUp(self: Any) -> None:
        if os.geteuid() != 0:
            self.skipTest("only root can become another user")

    def assert_no_password_in(self: Any, text: str) -> None:
        for password in self.passwords:
            self.assertNotIn(password, text)

    def test_ports_are_open_on_the_loopback_address_only(self: Any) -> None:
        for endpoint in self.endpoints.values():
            self.assertEqual(listeners(endpoint["port"]), {"0100007F"})

    def test_other_user_can_not_connect_without_the_password(self: Any) -> None:
        user = self.endpoints["postgres"]["username"]
        for host, port in self.addresses("postgres", 5432):
            for password in (None, "wrong"):
                answer = as_other_user(lambda: refusal_of_postgres(host, port, user, password))  # noqa: B023
                self.assertRegex(answer, "no password supplied|password authentication failed")
        for host, port in self.addresses("redis", 6379):
            for command, expected in ((b"PING\r\n", b"-NOAUTH"), (b"AUTH wrong\r\n", b"-WRONGPASS")):
                said = as_other_user(lambda: answer_of_redis(host, port, command))  # noqa: B023
                self.assertTrue(said.startswith(expected), said)

    def addresses(self: Any, service: str, port: int) -> list[tuple[str, int]]:
        """Where a server can be reached: every user of this machine gets to containers by their own addresses too."""
        found = [("127.0.0.1", self.endpoints[service]["port"])]
        for container in self.run_.evidence.containers():
            if container["Labels"]["containertest.service"] == service:
                networks = container["NetworkSettings"]["Networks"].values()
                found += [(network["IPAddress"], port) for network in networks]
        return found

    def test_there_is_no_unix_socket_to_connect_to(self: Any) -> None:
        paths = Path("/proc/net/unix").read_text()
        self.assertNotIn(f".s.PGSQL.{self.endpoints['postgres']['port']}", paths)
        self.assertNotIn(str(self.run_.folder), paths)

    def test_passwords_are_in_no_command_line_from_the_start_on(self: Any) -> None:
        seen = b"\n".join(self.command_lines.seen).decode(errors="replace")
        self.assertIn("containertest.guard", seen)
        self.assert_no_password_in(seen)

    def test_other_user_can_not_read_the_environment_of_our_processes(self: Any) -> None:
        paths = [f"/proc/{pid}/environ" for pid in processes(self.run_.folder)]
        paths += [f"/proc/{self.run_.server(service)}/environ" for service in ("postgres", "redis")]
        self.assertGreater(len(paths), 3)
        self.assertEqual(as_other_user(lambda: [path for path in paths if os.access(path, os.R_OK)]), [])

    def test_other_user_can_not_read_our_files(self: Any) -> None:
        folders = [self.run_.temporary, self.cache]
        found = as_other_user(lambda: readable(folders))
        self.assertEqual(found, [f"{self.run_.temporary}/"])

    def test_folders_are_for_their_owner_alone(self: Any) -> None:
        for folder in self.run_.temporary.glob("containertest-*"):
            for path in (folder, *folder.rglob("*")):
                mode = stat.S_IMODE(path.lstat().st_mode)
                # The user of the server must get through the folder to its data; he can't list it.
                allowed = 0o711 if path == folder else 0o700 if path.is_dir() else 0o600
                self.assertEqual(mode & ~allowed, 0, f"{path} has mode {mode:o}")

    def test_passwords_are_in_no_log_repr_or_error(self: Any) -> None:
        with Run(self.backend, "test", engine=self.run_.evidence.engine) as run:
            run.start(("-c", TALKATIVE), XDG_CACHE_HOME=str(self.cache))
            run.wait_until_reached()
            secrets = [entry["endpoint"]["password"] for entry in run.state()["servers"].values()]
            log = next(run.temporary.glob("containertest-*/*/guard.log")).read_text()
            killing.kill_server(run.server("postgres"))
            run.release()
            self.assertEqual(run.wait(), 1, run.said())
            self.assertIn("ServerDied", run.said())
            self.assertIn("<PostgreSQL ", run.said())
            for secret in secrets:
                self.assertNotIn(secret, run.said() + log)
            self.assert_no_password_in(run.said() + log)
            run.wait_until_gone()


def listeners(port: int) -> set[str]:
    """The addresses, as the kernel writes them, on which something listens on ``port``; see proc(5)."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            address, number = local.split(":")
            if state == "0A" and int(number, 16) == port:
                found.add(address)
    return found


def refusal_of_postgres(host: str, port: int, user: str, password: str | None) -> str:
    try:
        arguments = {"passfile": "/dev/null", "connect_timeout": 30}
        psycopg2.connect(host=host, port=port, user=user, dbname="postgres", password=password, **arguments).close()
    except psycopg2.OperationalError as error:
        return str(error)
    return "it let me in"


def answer_of_redis(host: str, port: int, command: bytes) -> bytes:
    with socket.create_connection((host, port), timeout=30) as connection:
        connection.sendall(command)
        return connection.recv(100)


class PlantedFolderTests(unittest.TestCase):
    """Somebody else was first at the place of the folder of all runs."""

    def setUp(self) -> None:
        self.run_ = Run("local")
        self.addCleanup(self.run_.__exit__, None, None, None)
        self.planted = self.run_.temporary / f"containertest-{os.getuid()}"

    def assert_refused(self) -> None:
        self.run_.start()
        self.assertEqual(self.run_.wait(), 1)
        self.assertIn(f"{self.planted} must be a folder of this user's own with mode 0700", self.run_.said())
        self.assertEqual(list(self.planted.iterdir()), [])
        self.assertEqual(list(self.run_.temporary.glob("containertest-data-*")), [])

    def test_symbolic_link_is_refused(self) -> None:
        target = self.run_.folder / "target"
        target.mkdir(mode=0o700)
        self.planted.symlink_to(target)
        self.assert_refused()

    def test_folder_that_others_can_enter_is_refused(self) -> None:
        self.planted.mkdir()
        self.planted.chmod(0o755)
        self.assert_refused()

    def test_folder_of_another_user_is_refused(self) -> None:
        if os.geteuid() != 0:
            self.skipTest("only root can give a folder away")
        self.planted.mkdir(mode=0o700)
        os.chown(self.planted, UID, UID)
        self.assert_refused()
