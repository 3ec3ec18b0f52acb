"""Runs: their ids, folders, locks and states. Other processes are real ones, the servers are missing."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import unittest
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from containertest import session as sessions
from containertest.errors import ContainerTestError
from containertest.processes import alive, myself, started
from containertest.session import VARIABLE, Session
from tests.support import clean_environment, eventually, run_python

#: Ids that can't be names of folders or containers, or only some of them.
ODD = (
    *("../elsewhere", "..", ".", "/tmp", "ci/123", "ci:123", "a b", "a  b", " ", "-", "--help", "%s%d", "\"'`$(x)"),
    *("\n", "\t\r", "a\\b", "*", "a_b", "a.gone", "take-over.lock", "\u00e4", "a\u0308", "\U0001f40d", "\u0663"),
    *("\udcff", "\udcfe", "x" * 65, "x" * 5000, "x" * 5001, "9" * 5000 + "-1", "x" * 64 + "/"),
)  # fmt: skip
PRINT_ID = "from containertest.session import identify; print(*identify())"


class TemporaryFolderCase(unittest.TestCase):
    """With a temporary folder of its own, and outside any run."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ct-unit-")).resolve()
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        names = (VARIABLE, "PYTEST_XDIST_TESTRUNUID")
        clean = {name: value for name, value in os.environ.items() if name not in names}
        for patch in (
            mock.patch.object(tempfile, "tempdir", str(self.folder)),
            mock.patch.dict(os.environ, {**clean, "TMPDIR": str(self.folder)}, clear=True),
        ):
            patch.start()
            self.addCleanup(patch.stop)

    @property
    def base(self) -> Path:
        return self.folder / f"containertest-{os.getuid()}"

    def join(self, **arguments: Any) -> Session:
        """Join this process' run, without a guard."""
        patch = mock.patch.object(sessions, "spawn_guard", return_value=True)
        patch.start()
        self.addCleanup(patch.stop)
        session = Session.join(**arguments)
        self.addCleanup(session.leave)
        return session

    def python(self, code: str, *arguments: str, **variables: str) -> str:
        done = run_python(code, *arguments, TMPDIR=str(self.folder), **variables)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    @contextlib.contextmanager
    def child(self, code: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
        """A child that prints a line when it is ready, and lives until the block ends."""
        process = subprocess.Popen(
            [sys.executable, "-c", f"{code}\nprint('ready', flush=True)\nimport sys\nsys.stdin.read()"],
            env=clean_environment(TMPDIR=str(self.folder), **variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                assert process.stdout
                self.assertEqual(process.stdout.readline(), "ready\n")
                yield process
            finally:
                process.kill()


class IdentityTests(TemporaryFolderCase):
    def test_run_is_named_after_its_first_process(self) -> None:
        pid = str(os.getpid())
        self.assertEqual(sessions.identify(), (f"{pid}-{started(os.getpid())}", [pid, started(os.getpid())]))

    def test_id_of_the_environment_is_taken_with_its_root(self) -> None:
        os.environ[VARIABLE] = "123-456"
        self.assertEqual(sessions.identify(), ("123-456", ["123", "456"]))

    def test_id_given_by_a_user_has_this_process_as_root(self) -> None:
        os.environ[VARIABLE] = "ci-build-7"
        self.assertEqual(sessions.identify(), ("ci-build-7", myself()))

    def names_of(self, variable: str, ids: Iterable[str]) -> list[str]:
        names = []
        for given in ids:
            with mock.patch.dict(os.environ, {variable: given}):
                names.append(sessions.identify()[0])
        return names

    def test_any_id_gives_a_short_and_plain_name_of_its_own(self) -> None:
        for variable in (VARIABLE, "PYTEST_XDIST_TESTRUNUID"):
            names = self.names_of(variable, ODD)
            for given, name in zip(ODD, names, strict=True):
                with self.subTest(variable, id=given[:40]):
                    self.assertRegex(name, r"\A[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")
            self.assertEqual(len(set(names)), len(ODD), "two ids have one name")
            # Not even when somebody gives the name of another one as his id.
            self.assertEqual(set(self.names_of(variable, names)) & set(names), set())

    def test_what_can_be_read_of_an_odd_id_stands_in_its_name(self) -> None:
        (name,) = self.names_of("PYTEST_XDIST_TESTRUNUID", ["ci/123"])
        self.assertRegex(name, r"\Axdist-ci-123_[0-9a-f]{20}\Z")

    def test_short_and_plain_ids_are_names_as_they_are(self) -> None:
        plain = ["ci-build-7", "A1", "x" * 64, "20261201"]
        self.assertEqual(self.names_of(VARIABLE, plain), plain)

    def test_processes_of_an_odd_id_share_a_run_in_the_base_folder(self) -> None:
        join = "from containertest.session import Session; print(Session.join().folder.resolve())"
        for given in ("../elsewhere", "/tmp/ci 7", "x" * 5000, "\u00e4/\U0001f40d"):
            with self.subTest(given[:40]):
                folders = {self.python(join, **{VARIABLE: given}), self.python(join, **{VARIABLE: given})}
                (folder,) = map(Path, folders)
                self.assertEqual(folder.parent, self.base)

    def test_descendants_of_a_worker_of_xdist_share_its_run_whatever_its_id_is(self) -> None:
        code = f"""
            import os, sys
            from containertest.session import Session
            Session.join()
            os.execv(sys.executable, ["python", "-c", {PRINT_ID!r}])
        """
        shown = self.python(code, PYTEST_XDIST_TESTRUNUID="ci/123").split()[0]
        self.assertEqual(shown, self.names_of("PYTEST_XDIST_TESTRUNUID", ["ci/123"])[0])

    def test_empty_ids_count_as_not_given(self) -> None:
        self.assertEqual(self.names_of(VARIABLE, [""]), ["-".join(myself())])
        shown = self.python(PRINT_ID, PYTEST_XDIST_TESTRUNUID="")
        self.assertEqual(shown, f"{'-'.join(myself())} {myself()}", "workers of one controller share a run")

    def test_workers_of_xdist_share_a_run_whose_root_is_the_controller(self) -> None:
        shown = self.python(PRINT_ID, PYTEST_XDIST_TESTRUNUID="abc")
        self.assertEqual(shown, f"xdist-abc {myself()}")

    def test_worker_of_xdist_that_another_has_adopted_is_the_root(self) -> None:
        """The guard would wait for whoever adopts the children of a killed controller: init, as a rule."""
        code = f"import os; {PRINT_ID}; from containertest.processes import myself; print(myself())"
        command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", code]
        environment = clean_environment(TMPDIR=str(self.folder), PYTEST_XDIST_TESTRUNUID="abc")
        shown = subprocess.check_output(command, env=environment, text=True).splitlines()
        self.assertEqual(shown[0], f"xdist-abc {shown[1]}")

    def test_announced_run_reaches_a_descendant_through_other_programs(self) -> None:
        sessions.announce()
        shown = self.python(
            f"import subprocess, sys; subprocess.run(['sh', '-c', sys.executable + ' -c \"{PRINT_ID}\"'])",
            **{VARIABLE: os.environ[VARIABLE]},
        )
        self.assertEqual(shown.split()[0], "-".join(myself()))

    def test_announcing_does_not_leave_a_run(self) -> None:
        os.environ[VARIABLE] = "1-2"
        sessions.announce()
        self.assertEqual(os.environ[VARIABLE], "1-2")
        del os.environ[VARIABLE]
        os.environ["PYTEST_XDIST_TESTRUNUID"] = "abc"
        sessions.announce()
        self.assertNotIn(VARIABLE, os.environ)

    def test_children_of_multiprocessing_find_the_run_of_their_parent(self) -> None:
        (self.folder / "child.py").write_text(
            "import multiprocessing, os, sys\n"
            "from containertest.session import identify\n"
            "if __name__ == '__main__':\n"
            "    for method in ('fork', 'spawn', 'forkserver'):\n"
            "        with multiprocessing.get_context(method).Pool(1) as pool:\n"
            "            assert pool.apply(identify) == identify(), (method, pool.apply(identify), identify())\n"
            "    print('the same')\n"
        )
        run = subprocess.run(
            [sys.executable, str(self.folder / "child.py")],
            env=clean_environment(TMPDIR=str(self.folder)),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.assertEqual((run.stdout, run.returncode), ("the same\n", 0), run.stderr)

    def test_two_programs_are_two_runs(self) -> None:
        self.assertNotEqual(self.python(PRINT_ID), self.python(PRINT_ID))


class FolderTests(TemporaryFolderCase):
    def modes(self, folder: Path) -> dict[str, int]:
        return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}

    def test_folders_and_files_are_private_whatever_the_umask(self) -> None:
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        session = self.join()
        with session.lock("a-server"):
            pass
        self.assertEqual(stat.S_IMODE(self.base.stat().st_mode), 0o700)
        self.assertEqual(self.modes(self.base), {session.id: 0o700})
        modes = self.modes(session.folder)
        self.assertLessEqual({"alive", "state.json", "state.lock", "a-server.lock"}, set(modes))
        self.assertEqual(set(modes.values()), {0o600})

    def refused(self) -> None:
        with self.assertRaisesRegex(ContainerTestError, "it can't be trusted.\nLook who made it"):
            sessions.base_folder()

    def test_temporary_folder_in_which_everybody_may_rename_is_refused(self) -> None:
        for mode in (0o777, 0o707, 0o773):
            for where in (self.folder, self.folder / "below", self.folder / "below" / "deeper"):
                with self.subTest(oct(mode), where=where.name), self.temporary(where):
                    self.folder.chmod(mode)
                    with self.assertRaisesRegex(ContainerTestError, f"no sticky bit.*\nDo chmod .t {self.folder}, or"):
                        sessions.base_folder()
                    self.assertEqual(list(where.glob("containertest-*")), [])
                    self.folder.chmod(0o700)

    def test_link_in_a_folder_in_which_everybody_may_rename_is_refused(self) -> None:
        (real := self.folder / "real").mkdir(mode=0o700)
        (link := self.folder / "open" / "link").parent.mkdir()
        link.symlink_to(real)
        link.parent.chmod(0o777)
        with self.temporary(link), self.assertRaisesRegex(ContainerTestError, "no sticky bit"):
            sessions.base_folder()

    def test_usual_temporary_folders_are_taken(self) -> None:
        for mode in (0o1777, 0o700, 0o755, 0o775, 0o2775, 0o770):
            with self.subTest(oct(mode)), self.temporary(self.folder / "below"):
                self.folder.chmod(mode)
                sessions.base_folder().rmdir()

    @contextlib.contextmanager
    def temporary(self, folder: Path) -> Iterator[None]:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        with mock.patch.object(tempfile, "tempdir", str(folder)):
            try:
                yield
            finally:
                shutil.rmtree(self.folder / "below", ignore_errors=True)

    @unittest.skipUnless(os.geteuid() == 0, "only root can give a folder to somebody else")
    def test_temporary_folder_of_another_user_is_taken(self) -> None:
        """As the workspace of a CI machine that is mounted into a container."""
        os.chown(self.folder, 1000, 1000)
        sessions.base_folder().rmdir()

    def test_folder_that_others_may_read_is_refused(self) -> None:
        self.base.mkdir()
        self.base.chmod(0o750)
        self.refused()

    def test_link_is_refused(self) -> None:
        (self.folder / "elsewhere").mkdir(mode=0o700)
        self.base.symlink_to(self.folder / "elsewhere")
        self.refused()
        (self.folder / "elsewhere").rmdir()
        self.refused()

    def test_file_is_refused(self) -> None:
        self.base.touch(mode=0o600)
        self.refused()

    def test_folder_of_somebody_else_is_refused(self) -> None:
        somebody = os.getuid() + 1
        (self.folder / f"containertest-{somebody}").mkdir(mode=0o700)
        with mock.patch.object(os, "getuid", return_value=somebody):
            self.refused()

    def test_run_that_can_have_no_guard_does_not_begin(self) -> None:
        (self.folder / "python").touch(0o600)
        for python in (str(self.folder / "python"), "", None):
            with self.subTest(python), mock.patch.object(sys, "executable", python):
                with self.assertRaisesRegex(ContainerTestError, "may not run its own Python"):
                    Session.join()

    def test_what_can_not_be_written_is_told(self) -> None:
        for number in (errno.ENOSPC, errno.EROFS, errno.EMFILE, errno.EDQUOT, errno.EIO):
            error = OSError(number, os.strerror(number))
            for name in ("pathlib.Path.mkdir", "os.open", "os.replace"):
                with self.subTest(name, error=number), mock.patch(name, side_effect=error):
                    with self.assertRaisesRegex(
                        ContainerTestError, f"can't be used: {os.strerror(number)}.\nMake room"
                    ):
                        self.join()
        self.assertFalse(self.base.exists(), "something of it stays")

    def test_missing_temporary_folder_is_told(self) -> None:
        with mock.patch.object(tempfile, "gettempdir", side_effect=FileNotFoundError(2, "No usable one")):
            with self.assertRaisesRegex(
                ContainerTestError, "no folder for temporary files: No usable one.\nSet TMPDIR"
            ):
                sessions.base_folder()

    def test_guard_starts_though_its_log_can_not_be_written(self) -> None:
        code = """
            import os
            from unittest import mock
            from containertest.session import Session, free
            real = os.open
            def no_log(path, *arguments, **options):
                if str(path).endswith("guard.log"):
                    raise OSError(28, "No space left on device")
                return real(path, *arguments, **options)
            with mock.patch("os.open", no_log):
                session = Session.join()
            session.see_guard()
        """
        self.python(code)
        self.assertTrue(eventually(lambda: not self.base.exists()))

    def test_joining_names_the_run_for_descendants(self) -> None:
        session = self.join()
        self.assertEqual(os.environ[VARIABLE], session.id)
        self.assertEqual(self.join().folder, session.folder)


class StateTests(TemporaryFolderCase):
    def test_begins_empty_with_the_root(self) -> None:
        self.assertEqual(sessions.read_state(self.join().folder), sessions.empty_state(myself()))

    def test_longest_keep_alive_wins(self) -> None:
        for seconds in (5, 9, 0):
            session = self.join(keep_alive=seconds)
        self.assertEqual(sessions.read_state(session.folder)["keep_alive"], 9)

    def test_handles_are_recorded_replaced_and_forgotten(self) -> None:
        session = self.join()
        session.record({"id": "a", "pid": 1})
        session.record({"id": "b"})
        session.record({"id": "a", "pid": 2})
        session.forget({"id": "b"})
        session.forget({"id": "never there"})
        self.assertEqual(sessions.read_state(session.folder)["handles"], {"a": {"id": "a", "pid": 2}})

    def test_failing_block_changes_nothing(self) -> None:
        session = self.join()
        before = (session.folder / "state.json").read_text()
        with self.assertRaises(ZeroDivisionError), session.state() as state:
            state["handles"]["half"] = {}
            raise ZeroDivisionError
        self.assertEqual((session.folder / "state.json").read_text(), before)

    def test_reader_never_sees_half_a_state(self) -> None:
        """The file is replaced, not written to: who has it open keeps what was there."""
        session = self.join()
        with open(session.folder / "state.json") as reader:
            session.record({"id": "x" * 100_000})
            self.assertEqual(json.load(reader), sessions.empty_state(myself()))
        self.assertFalse((session.folder / "state.new").exists())

    def test_no_change_of_many_processes_is_lost(self) -> None:
        session = self.join()
        code = f"""
            import sys
            from pathlib import Path
            from containertest.session import Session
            session = Session(Path({str(session.folder)!r}), -1)
            for number in range(20):
                session.record({{"id": f"{{sys.argv[1]}}-{{number}}"}})
        """
        threads = [threading.Thread(target=self.python, args=(code, str(number))) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(sessions.read_state(session.folder)["handles"]), 80)


class LockTests(TemporaryFolderCase):
    def test_lock_excludes_and_is_free_after_the_holder_was_killed(self) -> None:
        path = self.folder / "it.lock"
        code = f"from containertest.session import locked\nlock = locked({str(path)!r})\nlock.__enter__()"
        with self.child(code) as child:
            self.assertFalse(sessions.free(path))
            child.send_signal(signal.SIGKILL)
            child.wait()
            with sessions.locked(path):
                pass
        self.assertTrue(sessions.free(path))

    def test_child_forked_under_a_lock_does_not_keep_it(self) -> None:
        path = self.folder / "it.lock"
        reading, writing = os.pipe()
        with sessions.locked(path):
            if not (pid := os.fork()):
                os.close(writing)
                os.read(reading, 1)
                os._exit(0)
        self.addCleanup(os.waitpid, pid, 0)
        self.addCleanup(os.close, writing)
        self.assertTrue(sessions.free(path))

    def test_shared_locks_go_together(self) -> None:
        path = self.folder / "it.lock"
        with sessions.locked(path, shared=True), sessions.locked(path, shared=True):
            self.assertFalse(sessions.free(path))

    def test_process_holds_the_run_until_it_leaves(self) -> None:
        session = self.join()
        other = self.join()
        session.leave()
        session.leave()
        self.assertFalse(sessions.free(session.folder / "alive"))
        other.leave()
        self.assertTrue(sessions.free(session.folder / "alive"))

    def test_child_program_does_not_hold_the_run(self) -> None:
        session = self.join()
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False) as child:
            session.leave()
            self.assertTrue(sessions.free(session.folder / "alive"))
            assert child.stdin
            child.stdin.close()

    def test_joining_while_the_guard_removes_the_folder_makes_a_new_one(self) -> None:
        session = self.join()
        session.leave()
        held = os.open(session.folder / "alive", os.O_RDWR)
        fcntl.flock(held, fcntl.LOCK_EX)
        joined: list[Session] = []
        thread = threading.Thread(target=lambda: joined.append(self.join()))
        thread.start()
        # As the guard does: the folder goes while the lock is held, and then the lock.
        shutil.rmtree(session.folder)
        os.close(held)
        thread.join(60)
        self.assertEqual(joined[0].folder, session.folder)
        self.assertEqual(sessions.read_state(session.folder), sessions.empty_state(myself()))
        self.assertFalse(sessions.free(session.folder / "alive"))


class DeadRunTests(TemporaryFolderCase):
    JOIN = (
        "from unittest import mock\n"
        "from containertest import session\n"
        "with mock.patch.object(session, 'spawn_guard'):\n"
        "    joined = session.Session.join()"
    )

    def dead_run(self) -> Path:
        """A run whose process is gone and whose guard was killed."""
        with self.child(self.JOIN):
            (folder,) = (path for path in self.base.iterdir() if not sessions.free(path / "alive"))
        return folder

    def test_dead_run_gets_a_guard_which_removes_it(self) -> None:
        folder = self.dead_run()
        self.assertTrue((folder / "state.json").exists())
        self.assertEqual(sessions.bury_dead_runs(), [folder])
        self.assertTrue(eventually(lambda: not folder.exists()))

    def test_live_run_and_watched_run_are_left_alone(self) -> None:
        with self.child(self.JOIN):
            (live,) = self.base.iterdir()
            watched = self.base / "watched"
            watched.mkdir(mode=0o700)
            with sessions.locked(watched / "guard.lock"):
                (self.base / "take-over.lock").touch()
                (self.base / "name").symlink_to(watched)
                self.assertEqual(sessions.bury_dead_runs(), [])
            self.assertTrue(live.exists() and watched.exists())

    def test_new_run_buries_dead_ones(self) -> None:
        folder = self.dead_run()
        self.python("from containertest.session import Session; Session.join()")
        self.assertTrue(eventually(lambda: not folder.exists()))

    def test_dead_process_is_told_from_a_new_one_with_its_pid(self) -> None:
        self.assertTrue(alive(myself()))
        self.assertFalse(alive([str(os.getpid()), "1"]))
        self.assertFalse(alive([str(os.getpid()), ""]))

    def test_zombie_is_dead(self) -> None:
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        process = myself(child.pid)
        self.assertTrue(alive(process))
        child.kill()
        self.assertTrue(eventually(lambda: not alive(process)))
        child.communicate()

    def test_run_whose_first_process_died_at_once_is_removed(self) -> None:
        for files in ((), ("alive",)):
            folder = self.base / "stillborn"
            sessions.base_folder()
            folder.mkdir()
            for name in files:
                (folder / name).touch()
            self.assertEqual(sessions.bury_dead_runs(), [])
            self.assertFalse(folder.exists())

    def test_run_that_has_just_begun_is_no_stillborn_one(self) -> None:
        folder, file = sessions._hold("1-2")
        self.addCleanup(os.close, file)
        self.assertEqual(sessions.bury_dead_runs(), [])
        self.assertTrue(folder.exists())

    def test_removal_that_was_broken_off_is_finished(self) -> None:
        session = self.join()
        session.folder.rename(gone := session.folder.with_name(session.id + sessions.GONE))
        (gone / "guard.lock").touch()
        with sessions.locked(gone / "guard.lock"):
            sessions.bury_dead_runs()
            self.assertTrue(gone.exists())
        sessions.bury_dead_runs()
        self.assertFalse(gone.exists())

    def test_process_that_joins_while_the_folder_is_removed_finds_all_of_it_or_nothing(self) -> None:
        session = self.join()
        seen: list[Any] = []
        unlink = Path.unlink

        def look_and_unlink(path: Path, *arguments: Any, **options: Any) -> None:
            seen.append(sessions.read_state(session.folder))
            unlink(path, *arguments, **options)

        with mock.patch.object(Path, "unlink", look_and_unlink):
            sessions.bury(session.folder)
        self.assertEqual([state for state in seen if state], [])
        self.assertNotEqual(seen, [])


if __name__ == "__main__":
    unittest.main()
