"""Whatever is killed, and whenever: nothing of it stays in the process table, on disk or in shared memory."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
import unittest
from pathlib import Path
from unittest import mock

from containertest.backends import local_memory
from containertest.backends.local_processes import end_all, using
from containertest.backends.local_server import LocalServer
from containertest.processes import alive, myself
from containertest.services import postgres
from tests.integration.local_support import LocalTestCase, postgres_spec, redis_spec, segments


@unittest.skipUnless(Path("/proc/sysvipc/shm").exists(), "counts shared memory as Linux tells it")
class CrashTests(LocalTestCase):
    """One process starts a server and is killed; another one, such as the guard, removes what it left."""

    def setUp(self):
        super().setUp()
        self.journal = self.cache / "journal"
        self.journal.write_text("")
        self.before = segments()

    def record(self, handle):
        """Write it where the parent can read it when this process is dead."""
        with open(self.journal, "a") as journal:
            journal.write(f"{handle!r}\n")

    def read_journal(self):
        for line in self.journal.read_text().splitlines():
            handle = eval(line)
            self.handles[handle["id"]] = handle

    def child(self, spec):
        """Start a server in a child process, which then waits for its end."""
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                self.start(spec)
                signal.pause()
            os._exit(1)
        return pid

    def kill(self, pid):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    def assert_clean(self):
        self.read_journal()
        self.remove()
        self.assert_nothing_left()
        # Other servers of this machine come and go: what is there after a while, and wasn't before, is ours.
        self.eventually(lambda: not self.ours(), f"shared memory was left: {self.ours()}")

    def ours(self):
        return {name for name in segments() - self.before if not _is_used(name)}

    def test_starter_killed_at_any_moment_of_the_first_start(self):
        """That is: while the folder is made, in initdb, while its data are kept, and when the server starts."""
        for step in range(24):
            with self.subTest(milliseconds=step * 40):
                shutil.rmtree(self.cache / "containertest", ignore_errors=True)
                pid = self.child(postgres_spec())
                time.sleep(step * 0.04)
                self.kill(pid)
                self.assert_clean()

    def test_starter_killed_at_any_moment_of_a_later_start(self):
        self.start(postgres_spec())
        for step in range(24):
            with self.subTest(milliseconds=step * 5):
                pid = self.child(postgres_spec())
                time.sleep(step * 0.005)
                self.kill(pid)
                self.assert_clean()

    def test_starter_killed_when_the_server_runs_and_nobody_knows_its_number(self):
        for spec in (postgres_spec(), redis_spec()):
            with self.subTest(spec.title):
                with mock.patch.object(LocalServer, "began", side_effect=die):
                    pid = self.child(spec)
                self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), -signal.SIGKILL)
                self.read_journal()
                (folder,) = (handle["folder"] for handle in self.handles.values() if handle["service"] == spec.service)
                self.assertNotEqual(using(Path(folder)), [], "no server runs: the test proves nothing")
                self.assert_clean()

    def test_shell_that_ends_while_it_is_looked_at_hides_no_server(self):
        """A list of processes that was begun before the server was made has the shell alone, which is gone by then."""
        with subprocess.Popen(["sleep", "600"], start_new_session=True) as server:
            self.addCleanup(server.kill)
            looks = iter([[], [server.pid]])
            end_all(lambda: next(looks, []))
            self.assertFalse(alive(myself(server.pid)))

    def test_all_processes_of_a_server_killed_at_once(self):
        for options in ({}, {"dynamic_shared_memory_type": "posix"}):
            plain = postgres_spec()
            spec = postgres_spec(command=lambda place: with_options(plain.local.command(place), options))  # noqa: B023
            with self.subTest(**options):
                server = self.start(spec)
                # Stopped first: else the postmaster may see a child die and have time to clean up.
                for number in (signal.SIGSTOP, signal.SIGKILL):
                    for pid in using(Path(server.handle["folder"])):
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, number)
                self.eventually(lambda: not server.alive(), "it survived")  # noqa: B023
                self.eventually(self.ours, "nothing is left that could be removed: the test proves nothing")
                self.assert_clean()

    def test_stop_of_a_working_server_leaves_no_shared_memory(self):
        server = self.start(postgres_spec())
        connections = [postgres.connect(server.endpoint) for _ in range(5)]
        server.stop()
        for connection in connections:
            connection.close()
        self.assert_clean()

    def test_segment_without_a_header_is_removed_by_its_key(self):
        """Its maker was killed between shmget() and the first write."""
        folder = self.cache / "data"
        folder.mkdir()
        found = folder.stat()
        pid = os.fork()
        if pid == 0:
            made = local_memory._libc().shmget(found.st_ino & 0x7FFFFFFF, 56, 0o1600)
            os._exit(0 if made >= 0 else 1)
        self.assertEqual(os.waitpid(pid, 0)[1], 0)
        self.assertEqual(len(self.ours()), 1)
        local_memory.release(found.st_dev, found.st_ino + 1)
        self.assertEqual(len(self.ours()), 1, "the segment of another folder was removed")
        local_memory.release(found.st_dev, found.st_ino)
        self.assertEqual(self.ours(), set())


def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)


def with_options(command, options):
    return [*command, *(word for name, value in options.items() for word in ("-c", f"{name}={value}"))]


def _is_used(name):
    """Whether a process has this file of shared memory mapped."""
    if name.startswith("sysv"):
        return False
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            if name in maps.read_text(errors="replace"):
                return True
    return False
