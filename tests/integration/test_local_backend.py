"""Real PostgreSQL and Redis servers as processes of this machine."""

from __future__ import annotations

import codecs
import concurrent.futures
import contextlib
import ctypes
import dataclasses
import importlib
import json
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import unittest
from collections.abc import Iterable, Sequence
from pathlib import Path
from unittest import mock

from containertest import wait
from containertest.backends import local_server
from containertest.backends.local import LocalBackend, clear_caches
from containertest.backends.local_processes import using
from containertest.errors import BackendUnavailable, ServerDied
from containertest.services import postgres, redis
from containertest.spec import LocalPlace
from tests.integration.local_support import PASSWORD, LocalTestCase, postgres_spec, redis_spec


def query(server, sql):
    connection = postgres.connect(server.endpoint)
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


def read_of(pid, file):
    """A file of /proc/<pid>; empty for a process that has ended, as PostgreSQL's do after each connection."""
    try:
        return Path(f"/proc/{pid}/{file}").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def processes_of(server):
    return using(Path(server.handle["folder"]))


class EveryServerTests(LocalTestCase):
    """What holds for PostgreSQL and Redis alike."""

    def test_server_answers_and_lives_until_it_is_stopped(self):
        for spec in (postgres_spec(), redis_spec()):
            with self.subTest(spec.title):
                server = self.start(spec)
                self.assertTrue(server.alive())
                self.assertEqual(server.backend, "local")
                server.stop()
                self.assertFalse(server.alive())
        self.assert_nothing_left()

    def test_stopping_twice_does_nothing_the_second_time(self):
        server = self.start(redis_spec())
        server.stop()
        server.stop()

    def test_log_can_be_read_while_it_runs_and_after_the_stop(self):
        server = self.start(postgres_spec())
        self.assertIn("ready to accept connections", server.logs())
        self.assertEqual(len(server.logs(tail=1).splitlines()), 1)
        server.stop()
        self.assertIn("ready to accept connections", server.logs())

    def test_handle_is_plain_json_without_the_password(self):
        for spec in (postgres_spec(), redis_spec()):
            server = self.start(spec)
            self.assertNotIn(server.endpoint.password, json.dumps(server.handle))
            self.assertEqual(json.loads(json.dumps(server.handle)), server.handle)

    def test_folder_is_recorded_before_it_is_made_and_the_process_after(self):
        seen = []

        def record(handle):
            seen.append((Path(handle["folder"]).exists(), handle["process"]))
            self.record(handle)

        server = self.backend.start(redis_spec(), dataclasses.replace(self.owner, record=record))
        self.assertEqual(seen[0], (False, None))
        self.assertEqual(seen[-1], (True, server.handle["process"]))

    def test_ended_server_is_seen_at_once_and_is_no_zombie(self):
        server = self.start(redis_spec())
        pid = int(server.handle["process"][0])
        os.kill(pid, signal.SIGKILL)
        self.eventually(lambda: not server.alive(), "a killed server counts as alive")
        self.eventually(lambda: not Path(f"/proc/{pid}").exists(), "a zombie was left")

    def test_waiting_for_any_child_neither_waits_for_a_server_nor_takes_its_end(self):
        for spec in (postgres_spec(), redis_spec()):
            with self.subTest(spec.title):
                server = self.start(spec)
                with self.assertRaises(ChildProcessError):
                    os.waitpid(-1, os.WNOHANG)
                self.assertTrue(server.alive())

    def test_first_process_of_a_container_which_adopts_the_server_leaves_no_zombie(self):
        pid = os.fork()
        if pid == 0:
            status = 1
            with contextlib.suppress(BaseException):
                ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
                status = self.zombies_of_a_killed_server()
            os._exit(status)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)

    def zombies_of_a_killed_server(self):
        """0 if there are none; 2 if this process was not the one to take the server's status."""
        server = self.start(redis_spec())
        pid = int(server.handle["process"][0])
        parent = read_of(pid, "stat").rpartition(")")[2].split()[1]
        os.kill(pid, signal.SIGKILL)
        self.eventually(lambda: not server.alive(), "a killed server counts as alive")
        return int(Path(f"/proc/{pid}").exists()) if parent == str(os.getpid()) else 2

    def test_process_with_the_same_number_is_not_taken_for_the_server(self):
        server = self.start(redis_spec())
        handle = {**server.handle, "process": [str(os.getpid()), "1"]}
        self.assertFalse(self.backend.attach(handle, server.endpoint).alive())

    def test_server_that_ends_at_start_up_is_reported_with_its_log(self):
        spec = redis_spec(files=lambda place: {"redis.conf": "no-such-option 1\n"})
        server = self.backend.start(spec, self.owner)
        with self.assertRaisesRegex(ServerDied, "no-such-option"):
            wait.until_ready(server, spec.title, spec.wait, spec.probe, 30)

    def test_another_port_is_taken_when_somebody_got_it_first(self):
        for spec in (postgres_spec(), redis_spec()):
            with self.subTest(spec.title), socket.socket() as taken:
                taken.bind(("127.0.0.1", 0))
                number = taken.getsockname()[1]
                ports = [number, number, local_server.free_port()]
                with mock.patch.object(local_server, "free_port", side_effect=ports):
                    server = self.start(spec)
                self.assertNotEqual(server.endpoint.port, number)
                self.assertEqual(self.handles[server.handle["id"]], server.handle)

    def test_free_port_is_free_for_a_server(self):
        ports = [local_server.free_port() for _ in range(50)]
        self.assertEqual(len(set(ports)), 50)
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("127.0.0.1", ports[0]))

    def test_failed_start_leaves_nothing(self):
        def broken(place: LocalPlace) -> Sequence[str]:
            raise RuntimeError("no command")

        for spec in (postgres_spec(command=broken), redis_spec(command=lambda place: ["/no/such/program"])):
            with self.subTest(spec.title), self.assertRaises((RuntimeError, BackendUnavailable)):
                self.backend.start(spec, self.owner)
        self.assert_nothing_left()

    def test_interrupt_during_initdb_leaves_nothing(self):
        spec = postgres_spec()
        with mock.patch.object(subprocess.Popen, "wait", side_effect=[KeyboardInterrupt, 0, 0, 0]):
            with self.assertRaises(KeyboardInterrupt):
                self.backend.start(spec, self.owner)
        self.assert_nothing_left()

    def test_ctrl_c_at_the_terminal_does_not_reach_the_server(self):
        server = self.start(redis_spec())
        self.assertNotEqual(os.getpgid(int(server.handle["process"][0])), os.getpgid(0))
        self.assertNotEqual(os.getsid(int(server.handle["process"][0])), os.getsid(0))

    def test_forked_child_sees_the_server_alive_and_does_not_reap_it(self):
        server = self.start(redis_spec())
        pid = os.fork()
        if pid == 0:
            os._exit(0 if server.alive() and server.alive() else 1)
        self.assertEqual(os.waitpid(pid, 0)[1], 0)
        self.assertTrue(server.alive())


class SecrecyTests(LocalTestCase):
    """Another local user can neither connect nor read a password."""

    def test_passwords_are_on_no_command_line_and_in_no_environment(self):
        for spec in (postgres_spec(), redis_spec()):
            server = self.start(spec)
            for pid in processes_of(server):
                for file in ("cmdline", "environ"):
                    # What its own user may not read, as of a process that is just changing, shows no password.
                    with contextlib.suppress(PermissionError):
                        text = read_of(pid, file)
                        self.assertNotIn(server.endpoint.password, text)
                        self.assertNotIn(PASSWORD, text)

    def test_environment_of_the_tests_does_not_reach_the_server(self):
        with mock.patch.dict(os.environ, {"PGPORT": "1", "PGDATA": "/nowhere", "MY_TOKEN": "x"}):
            server = self.start(postgres_spec())
        text = read_of(server.handle["process"][0], "environ")
        self.assertIn("LC_ALL=C", text)
        self.assertNotIn("MY_TOKEN", text)
        self.assertNotIn("/nowhere", text)

    def test_files_are_for_this_user_only(self):
        server = self.start(postgres_spec())
        folder = Path(server.handle["folder"])
        self.assertEqual(stat.S_IMODE(folder.joinpath("data").stat().st_mode), 0o700)
        self.assertEqual(stat.S_IMODE(folder.joinpath("log").stat().st_mode), 0o600)
        self.assertFalse(folder.joinpath("password").exists())
        self.assertIn(stat.S_IMODE(folder.stat().st_mode), (0o700, 0o711))
        for path in self.cache.rglob("*"):
            self.assertEqual(path.stat().st_mode & 0o077, 0, path)

    def test_wrong_or_no_password_is_refused(self):
        server = self.start(postgres_spec())
        with self.assertRaisesRegex(Exception, "authentication failed"):
            postgres.connect(dataclasses.replace(server.endpoint, password="wrong"))
        server = self.start(redis_spec())
        with self.assertRaisesRegex(Exception, "(?i)authenticat"):
            redis.probe(dataclasses.replace(server.endpoint, password=None))

    def test_password_that_is_kept_is_not_the_one_of_the_run(self):
        server = self.start(postgres_spec())
        self.assertNotEqual(server.endpoint.password, PASSWORD)
        settled = postgres.meet(server.endpoint, PASSWORD)
        with settled.connection.cursor() as cursor:
            cursor.execute("SELECT rolpassword FROM pg_authid WHERE rolname = current_user")
            self.assertRegex(cursor.fetchone()[0], r"^SCRAM-SHA-256\$1:")
        settled.connection.close()
        postgres.probe(settled.endpoint)
        with self.assertRaisesRegex(Exception, "authentication failed"):
            postgres.probe(server.endpoint)

    def test_only_the_loopback_address_listens(self):
        for spec in (postgres_spec(), redis_spec()):
            port = self.start(spec).endpoint.port
            listening = re.findall(rf"(\w+):{port:04X} 0+:0000 0A", Path("/proc/net/tcp").read_text())
            self.assertEqual(listening, ["0100007F"])


class CacheTests(LocalTestCase):
    """`initdb` runs once."""

    def setUp(self):
        super().setUp()
        shutil.rmtree(self.cache / "containertest", ignore_errors=True)

    def counted(self):
        runs = []
        plain = postgres_spec()

        def initialise(place: LocalPlace) -> Iterable[Sequence[str]]:
            runs.append(place.password)
            assert plain.local.initialise is not None
            return plain.local.initialise(place)

        return runs, postgres_spec(initialise=initialise)

    def entry(self) -> Path:
        (entry,) = self.cache.glob("containertest/data-*")
        return entry

    def test_second_start_copies_what_the_first_one_made(self):
        runs, spec = self.counted()
        first, second = self.start(spec), self.start(spec)
        self.assertEqual(len(runs), 1)
        self.assertEqual(first.endpoint.password, second.endpoint.password)
        self.assertNotEqual(first.endpoint.port, second.endpoint.port)

    def test_data_of_one_server_are_not_in_the_next(self):
        first = self.start(postgres_spec())
        connection = postgres.connect(first.endpoint)
        with contextlib.closing(connection), connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE t ()")
        second = self.start(postgres_spec())
        self.assertIsNone(query(second, "SELECT to_regclass('t')"))

    def test_other_options_of_initdb_make_other_data(self):
        runs, spec = self.counted()
        self.start(spec)
        self.start(dataclasses.replace(spec, local=dataclasses.replace(spec.local, identity="other")))
        self.assertEqual(len(runs), 2)

    def test_damaged_data_are_made_again(self):
        runs, spec = self.counted()
        self.start(spec)
        self.entry().joinpath("data/global/pg_control").unlink()
        self.start(spec)
        self.assertEqual(len(runs), 2)
        self.start(spec)
        self.assertEqual(len(runs), 2, "what was made again was not kept")

    def test_failed_initdb_is_not_kept_and_says_why(self):
        spec = postgres_spec(initialise=lambda place: [[str(place.programs["initdb"]), "--no-such-option"]])
        with self.assertRaisesRegex(BackendUnavailable, "no-such-option"):
            self.backend.start(spec, self.owner)
        self.assertEqual(list(self.cache.glob("containertest/*")), [])
        self.assert_nothing_left()

    def test_first_runs_at_the_same_time_all_get_servers(self):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            servers = list(pool.map(lambda _: self.start(postgres_spec()), range(4)))
        self.assertEqual([query(server, "SELECT 1") for server in servers], [1] * 4)
        self.assertEqual([path.name[:5] for path in self.cache.glob("containertest/*")], ["data-"])

    def test_without_a_home_it_works_without_a_cache(self):
        runs, spec = self.counted()
        with mock.patch("containertest.backends.local_server.cache_folder", return_value=None):
            servers = [self.start(spec), self.start(spec)]
        self.assertEqual(len(runs), 2)
        self.assertEqual({server.endpoint.password for server in servers}, {PASSWORD})

    def test_clearing_removes_the_cache_and_harms_no_later_start(self):
        self.start(postgres_spec())
        with mock.patch("containertest.backends.local.copies_candidates", return_value=[]):
            self.assertEqual(clear_caches()[0], self.cache / "containertest")
        self.assertFalse(self.cache.joinpath("containertest").exists())
        self.start(postgres_spec())

    def test_copied_programs_of_a_living_server_are_not_cleared(self):
        if os.geteuid() != 0:
            self.skipTest("only root copies programs")
        copies = self.cache / "copies"
        copies.mkdir(mode=0o755)
        program = shutil.copy2(shutil.which("sleep"), copies / "server")
        with mock.patch("containertest.backends.local.copies_candidates", return_value=[copies]):
            with subprocess.Popen([program, "600"]) as server:
                self.assertNotIn(copies, clear_caches())
                self.assertTrue(program.exists())
                server.kill()
            self.assertIn(copies, clear_caches())


class OtherProcessTests(LocalTestCase):
    """Servers are started by one process, used by others, and removed by whoever is left."""

    def started_by_a_child(self, spec):
        """Start a server in a process that ends; return the handle and endpoint."""
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            status = 1
            with contextlib.suppress(BaseException):
                server = self.start(spec)
                os.write(writing, json.dumps([server.handle, dataclasses.asdict(server.endpoint)]).encode())
                status = 0
            os._exit(status)
        os.close(writing)
        with open(reading, "rb") as pipe:
            text = pipe.read()
        self.assertEqual(os.waitpid(pid, 0)[1], 0)
        handle, endpoint = json.loads(text)
        self.record(handle)
        return handle, dataclasses.replace(self.endpoint_of(spec), **endpoint)

    @staticmethod
    def endpoint_of(spec):
        return local_server.Endpoint("", 0)

    def test_server_outlives_its_starter_and_another_process_uses_and_stops_it(self):
        for spec in (postgres_spec(), redis_spec()):
            with self.subTest(spec.title):
                handle, endpoint = self.started_by_a_child(spec)
                server = LocalBackend().attach(handle, endpoint)
                self.assertTrue(server.alive())
                spec.probe(server.endpoint)
                self.assertIn("ready to accept connections", server.logs().lower())
                server.stop()
                self.assertFalse(server.alive())
        self.assert_nothing_left()

    def test_removing_a_run_leaves_those_of_others(self):
        other = dataclasses.replace(self.owner, session=f"{self.owner.session}-other")
        server = self.backend.start(redis_spec(), other)
        self.addCleanup(server.stop)
        self.started_by_a_child(redis_spec())
        self.handles.pop(server.handle["id"])
        self.remove()
        self.assert_nothing_left()
        self.assertTrue(server.alive())

    def test_folder_of_a_run_is_found_without_its_handle(self):
        self.started_by_a_child(redis_spec())
        folders = [Path(handle["folder"]) for handle in self.handles.values()]
        LocalBackend().remove(self.owner.session, {})
        self.assert_nothing_left(folders)

    def test_processes_whose_folder_somebody_removed_are_ended_and_those_of_other_runs_are_not(self):
        other = dataclasses.replace(self.owner, session=f"{self.owner.session}-other")
        servers = [self.start(redis_spec()), self.start(postgres_spec()), self.start(redis_spec(), other)]
        for server in servers:
            shutil.rmtree(server.handle["folder"])
        LocalBackend().remove(self.owner.session, {})
        self.assertEqual([server.alive() for server in servers], [False, False, True])
        self.backend.remove(other.session, {})
        self.assertFalse(servers[2].alive())

    def test_removing_what_is_gone_does_nothing(self):
        self.started_by_a_child(redis_spec())
        self.remove()
        self.remove()
        LocalBackend().attach({"id": "x"}, self.endpoint_of(None)).stop()

    def test_server_that_changed_its_folder_is_removed(self):
        server = self.backend.start(
            redis_spec(command=lambda place: ["sh", "-c", "cd / && exec sleep 600"]), self.owner
        )
        self.eventually(lambda: not processes_of(server), "it did not change its folder")
        self.assertTrue(server.alive())
        self.remove()
        self.assertFalse(server.alive())

    def test_handle_that_names_a_folder_of_somebody_else_removes_nothing(self):
        foreign = self.cache / "containertest-data-foreign"
        foreign.mkdir()
        (foreign / "precious").touch()
        for folder in (foreign, self.cache):
            self.record({"id": "x", "backend": "local", "folder": str(folder), "session": self.owner.session})
            self.remove()
            self.assertTrue((foreign / "precious").exists())
        self.handles.clear()

    def test_child_process_with_a_foreign_number_is_left_alone(self):
        with subprocess.Popen(["sleep", "60"]) as bystander:
            handle, _ = self.started_by_a_child(redis_spec())
            self.handles[handle["id"]]["process"] = [str(bystander.pid), "1"]
            self.remove()
            self.assertIsNone(bystander.poll())
            bystander.kill()
        self.assert_nothing_left()


@unittest.skipUnless(os.geteuid() == 0, "only root has to change the user")
class RootTests(LocalTestCase):
    """PostgreSQL refuses to run as root."""

    def test_postgres_runs_as_another_user_and_its_folder_stays_roots(self):
        server = self.start(postgres_spec())
        status = [read_of(pid, "status") for pid in processes_of(server)]
        owners = {uid for text in status for uid in re.findall(r"(?m)^Uid:\s+(\d+)", text)}
        data = Path(server.handle["folder"], "data").stat().st_uid
        self.assertEqual(owners, {str(data)})
        self.assertNotEqual(data, 0)
        self.assertEqual(Path(server.handle["folder"]).stat().st_uid, 0)
        self.assertRegex(read_of(server.handle["process"][0], "status"), r"(?m)^Groups:\s*$")

    def test_a_temporary_folder_that_is_roots_alone_is_not_used(self):
        self.cache.chmod(0o700)
        with mock.patch("tempfile.tempdir", str(self.cache)), mock.patch.dict(os.environ, TMPDIR=str(self.cache)):
            server = self.start(postgres_spec())
        self.assertNotIn(str(self.cache), server.handle["folder"])

    def test_plain_user_passes_the_same_tests(self):
        names = (EveryServerTests, SecrecyTests, CacheTests, OtherProcessTests)
        # initdb wants a user with a name.
        nobody = pwd.getpwnam("nobody")
        # What is loaded late can't be loaded by a user who may not read this Python's own files, as below /root.
        for name in (
            "concurrent.futures.thread",
            "psycopg2.extensions",
            "redis.backoff",
            "redis.retry",
            "multiprocessing",
        ):
            importlib.import_module(name)
        for encoding in ("ascii", "idna", "latin-1", "utf-8"):
            codecs.lookup(encoding)
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.setgroups([])
            os.setgid(nobody.pw_gid)
            os.setuid(nobody.pw_uid)
            with open(writing, "w") as out:
                loader = unittest.defaultTestLoader
                suite = unittest.TestSuite(loader.loadTestsFromTestCase(name) for name in names)
                result = unittest.TextTestRunner(out).run(suite)
                out.flush()
                os._exit(0 if result.wasSuccessful() and result.testsRun > 20 else 1)
        os.close(writing)
        with open(reading) as pipe:
            said = pipe.read()
        self.assertEqual(os.waitpid(pid, 0)[1], 0, said)
