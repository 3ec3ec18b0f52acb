"""What removes a run: guards are real processes, their backends are fakes or missing."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import threading
from contextlib import redirect_stderr
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import main, mock

from containertest import backends, guard
from containertest import session as sessions
from containertest.processes import started
from tests.support import eventually
from tests.unit.test_session import TemporaryFolderCase

JOIN = "from containertest.session import Session\nsession = Session.join()"

DIES = """
import os, sys, tempfile
from pathlib import Path
from containertest import session as sessions
from containertest.wait import poll
broken = Path(tempfile.gettempdir(), "python")
broken.write_text("#!/bin/sh\\necho no such module >&2\\nexit 1\\n")
broken.chmod(0o755)
python, sys.executable = sys.executable, str(broken)
session = sessions.Session.join()
assert poll(lambda: sessions.free(session.folder / "guard.lock"), 60)
"""
DIES_ONCE = f"{DIES}sys.executable = python\nsession.see_guard()"
DIES_ALWAYS = f"{DIES}try: session.see_guard()\nexcept sessions.ContainerTestError as error: print(error)"


class GuardCase(TemporaryFolderCase):
    def runs(self) -> list[Path]:
        return [path for path in self.base.iterdir() if path.is_dir()] if self.base.exists() else []

    def run_of(self, child: subprocess.Popen[str]) -> Path:
        (folder,) = (path for path in self.runs() if path.name.startswith(f"{child.pid}-"))
        return folder

    def assertGone(self, folder: Path) -> None:
        self.assertTrue(eventually(lambda: not folder.exists()), f"{folder} is still there")

    def assertStays(self, folder: Path) -> None:
        """That it is not removed can only be seen for a while; a wrong guard needs some milliseconds."""
        self.assertFalse(eventually(lambda: not folder.exists(), timeout=0.3), f"{folder} is gone too early")


class LifeTests(GuardCase):
    def test_run_goes_when_its_only_process_is_killed(self) -> None:
        with self.child(JOIN) as child:
            folder = self.run_of(child)
            self.assertFalse(sessions.free(folder / "guard.lock"), "no guard is at work")
            child.send_signal(signal.SIGKILL)
            child.wait()
            self.assertGone(folder)
        self.assertTrue(eventually(lambda: not self.base.exists()), "the folder of all runs stays")

    def test_run_stays_until_the_last_holder_is_killed(self) -> None:
        with self.child(JOIN) as first:
            folder = self.run_of(first)
            with self.child(JOIN, CONTAINERTEST_SESSION=folder.name) as second:
                self.assertEqual(self.runs(), [folder])
                first.send_signal(signal.SIGKILL)
                first.wait()
                self.assertStays(folder)
                second.send_signal(signal.SIGKILL)
                second.wait()
                self.assertGone(folder)

    def test_run_stays_while_its_root_lives_even_if_that_holds_nothing(self) -> None:
        with self.child("from containertest.session import announce\nannounce()") as root:
            name = "-".join(sessions.myself(root.pid))
            with self.child(JOIN, CONTAINERTEST_SESSION=name) as worker:
                worker.send_signal(signal.SIGKILL)
                worker.wait()
            folder = self.base / name
            self.guard_of(folder)
            self.assertStays(folder)
            self.assertEqual(sessions.read_state(folder)["root"], sessions.myself(root.pid))
            root.kill()
            root.wait()
            self.assertGone(folder)

    def test_forked_child_keeps_the_run(self) -> None:
        code = f"{JOIN}\nimport os, sys\nif os.fork(): sys.stdin.read(); os._exit(0)"
        with self.child(code) as child:
            folder = self.run_of(child)
            child.send_signal(signal.SIGKILL)
            child.wait()
            self.assertStays(folder)
        self.assertGone(folder)

    def test_guard_survives_the_signals_of_a_terminal_and_ends_with_the_run(self) -> None:
        with self.child(JOIN) as child:
            folder = self.run_of(child)
            pid = self.guard_of(folder)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(pid, number)
            self.assertFalse(sessions.free(folder / "guard.lock"))
            self.assertNotEqual(os.getsid(pid), os.getsid(0))
        self.assertGone(folder)
        self.assertTrue(eventually(lambda: not started(pid)), "the guard goes on")

    def test_killed_guard_is_replaced_by_the_next_process_of_the_run(self) -> None:
        with self.child(JOIN) as first:
            folder = self.run_of(first)
            os.kill(self.guard_of(folder), signal.SIGKILL)
            self.assertTrue(eventually(lambda: sessions.free(folder / "guard.lock")))
            with self.child(JOIN, CONTAINERTEST_SESSION=folder.name):
                self.assertFalse(sessions.free(folder / "guard.lock"))
        self.assertGone(folder)

    def test_guard_that_died_at_once_is_replaced_when_the_servers_are_ready(self) -> None:
        with self.child(DIES_ONCE) as child:
            folder = self.run_of(child)
            self.assertFalse(sessions.free(folder / "guard.lock"))
            self.assertEqual((folder / "guard.lock").read_text(), "at work\n")
        self.assertGone(folder)

    def test_guard_that_dies_each_time_is_told_with_what_it_said(self) -> None:
        said = self.python(DIES_ALWAYS)
        self.assertIn("-m containertest.guard, ended at once.", said)
        self.assertIn("  | no such module", said)

    def guard_of(self, folder: Path) -> int:
        """The pid of the guard of a run, once it ignores the signals of a terminal."""
        found: list[int] = []

        def look() -> bool:
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit() and self._guards(entry, folder):
                    found.append(int(entry.name))
            return bool(found)

        self.assertTrue(eventually(look), "no guard")
        return found[0]

    @staticmethod
    def _guards(entry: Path, folder: Path) -> bool:
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            ignored = (entry / "status").read_text().partition("SigIgn:")[2].split()[0]
        except OSError:
            return False
        return os.fsencode(folder) in words and bool(int(ignored, 16) & 1 << (signal.SIGTERM - 1))


class LingerTests(GuardCase):
    KEEP = "from containertest.session import Session\nsession = Session.join(keep_alive=600)\n"
    SERVER = "with session.state() as state: state['servers']['postgres-1'] = {'backend': 'fake'}\n"

    def lingering(self, change: str = "") -> Path:
        with self.child(self.KEEP + self.SERVER + change) as child:
            folder = self.run_of(child)
        self.assertTrue(eventually(lambda: bool(sessions.read_state(folder).get("idle"))), "it does not linger")
        return folder

    def end(self, folder: Path) -> None:
        with sessions.Session(folder, -1).state() as state:
            state["prune"] = True
        self.assertGone(folder)

    def test_servers_stay_for_the_next_run_until_they_are_pruned(self) -> None:
        folder = self.lingering()
        self.assertTrue(eventually(lambda: sessions.free(folder / "alive")))
        self.end(folder)

    def test_next_run_takes_over_and_its_end_counts(self) -> None:
        folder = self.lingering()
        take = (
            "from containertest import session\n"
            "from containertest.servers import kept\n"
            "kept.take_over(kept.Wanted('postgres-1'))\n"
            "session = session.Session.join(600)\n"
        )
        with self.child(take) as child:
            state = sessions.read_state(folder)
            self.assertEqual((state["idle"], state["root"]), (False, sessions.myself(child.pid)))
            self.assertTrue(any(path.is_symlink() for path in self.base.iterdir()))
        self.assertTrue(eventually(lambda: bool(sessions.read_state(folder).get("idle"))))
        self.end(folder)
        self.assertTrue(eventually(lambda: not self.base.exists()), "a name of the run stays")

    def test_kept_database_stays_without_a_time_limit(self) -> None:
        folder = self.lingering("with session.state() as state: state.update(keep_alive=0.0, kept=['failed_1'])\n")
        self.end(folder)

    def test_run_without_servers_does_not_linger(self) -> None:
        with self.child(self.KEEP) as child:
            folder = self.run_of(child)
        self.assertGone(folder)

    def test_servers_go_when_the_time_is_up(self) -> None:
        with self.child(self.KEEP.replace("600", "0.2") + self.SERVER) as child:
            folder = self.run_of(child)
        self.assertGone(folder)


class FakeBackend:
    removed: ClassVar[list[tuple[str, dict[str, Any]]]] = []
    failures: ClassVar[int] = 0

    def remove(self, session: str, handles: dict[str, Any]) -> None:
        if FakeBackend.failures:
            FakeBackend.failures -= 1
            raise OSError("the engine does not answer")
        FakeBackend.removed.append((session, handles))


class RemoveTests(GuardCase):
    def setUp(self) -> None:
        super().setUp()
        FakeBackend.removed.clear()
        FakeBackend.failures = 0
        names = dict.fromkeys(("docker", "local"), (__name__, "FakeBackend"))
        for patch in (mock.patch.dict(backends.NAMES, names, clear=True), mock.patch.object(guard, "INTERVAL", 0.01)):
            patch.start()
            self.addCleanup(patch.stop)
        self.session = self.join()
        self.addCleanup(setattr, FakeBackend, "failures", 0)

    def test_each_backend_gets_its_own_handles(self) -> None:
        for handle in ({"id": "a", "backend": "docker"}, {"id": "b", "backend": "docker"}):
            self.session.record(handle)
        self.assertTrue(guard.remove_run(self.session.folder))
        ((name, handles),) = FakeBackend.removed
        self.assertEqual((name, set(handles)), (self.session.id, {"a", "b"}))
        self.assertFalse(self.base.exists())

    def test_failure_is_logged_and_keeps_the_folder_for_another_try(self) -> None:
        self.session.record({"id": "a", "backend": "local"})
        FakeBackend.failures = 1
        with redirect_stderr(io.StringIO()) as log:
            self.assertFalse(guard.remove_run(self.session.folder))
        self.assertIn("the engine does not answer", log.getvalue())
        self.assertIn("a", sessions.read_state(self.session.folder)["handles"])
        self.assertTrue(guard.remove_run(self.session.folder))

    def test_failure_of_one_backend_does_not_keep_the_others_from_removing(self) -> None:
        self.session.record({"id": "a", "backend": "docker"})
        self.session.record({"id": "b", "backend": "local"})
        FakeBackend.failures = 1
        with redirect_stderr(io.StringIO()):
            self.assertFalse(guard.remove_run(self.session.folder))
        self.assertEqual([set(handles) for _, handles in FakeBackend.removed], [{"b"}])

    def test_server_of_others_that_never_comes_back_is_forgotten_after_a_week(self) -> None:
        gone = {"backend": "external", "endpoint": {"host": "127.0.0.1", "port": 1}, "databases": {}, "templates": {}}
        with self.session.state() as state:
            state["servers"]["postgres-x"] = gone
        with redirect_stderr(io.StringIO()) as log:
            self.assertFalse(guard.remove_run(self.session.folder))
        self.assertIn("Connection refused", log.getvalue())
        with self.session.state() as state:
            state["failed"] -= 7 * 86_400
        self.assertTrue(guard.remove_run(self.session.folder))
        self.assertFalse(self.session.folder.exists())

    def test_guard_tries_again_and_gives_up_in_the_end(self) -> None:
        self.session.record({"id": "a", "backend": "local"})
        FakeBackend.failures = 3
        with redirect_stderr(io.StringIO()):
            guard._remove(self.session.folder)
        self.assertFalse(self.session.folder.exists())
        self.session = self.join()
        self.session.record({"id": "a", "backend": "local"})
        FakeBackend.failures = 10**6
        with redirect_stderr(io.StringIO()), mock.patch.object(guard, "PATIENCE", 0.05):
            guard._remove(self.session.folder)
        self.assertTrue(self.session.folder.exists())

    def test_base_folder_stays_while_there_is_another_run(self) -> None:
        (self.base / "other").mkdir()
        self.assertTrue(guard.remove_run(self.session.folder))
        self.assertEqual(self.runs(), [self.base / "other"])

    def test_run_without_a_state_is_just_a_folder(self) -> None:
        empty = self.base / "empty"
        empty.mkdir()
        self.assertTrue(guard.remove_run(empty))
        self.assertFalse(empty.exists())


class RootTests(GuardCase):
    def test_root_that_is_gone_is_not_waited_for(self) -> None:
        for root in (None, [], ["1", "never"], [str(os.getpid()), "0"]):
            guard._wait_for_root(root)

    def test_root_is_waited_for(self) -> None:
        self.wait_for_child()

    def test_root_is_waited_for_where_the_kernel_has_no_pidfd(self) -> None:
        with mock.patch.object(os, "pidfd_open", side_effect=OSError), mock.patch.object(guard, "INTERVAL", 0.01):
            self.wait_for_child()

    def wait_for_child(self) -> None:
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
            ended: list[bool] = []

            def end() -> None:
                ended.append(True)
                child.kill()

            timer = threading.Timer(0.2, end)
            timer.start()
            guard._wait_for_root(sessions.myself(child.pid))
            self.assertTrue(ended, "it did not wait")
            timer.join()


class PruneTests(GuardCase):
    def test_prune_removes_lingering_runs_and_leaves_live_ones(self) -> None:
        from containertest import prune

        lingering = LingerTests("lingering")
        lingering.folder = self.folder
        folder = lingering.lingering()
        fake = SimpleNamespace(prune=lambda: ["removed: a cache"])
        with (
            self.child(JOIN) as child,
            mock.patch.dict("sys.modules", {"fake_backend": fake}),  # type: ignore[dict-item]
            mock.patch.dict(backends.NAMES, {"fake": ("fake_backend", "")}, clear=True),
        ):
            live = self.run_of(child)
            with mock.patch("builtins.print") as printed:
                self.assertEqual(prune.everything(), 0)
            self.assertFalse(folder.exists())
            self.assertTrue((live / "state.json").exists())
        lines = [call.args[0] for call in printed.call_args_list]
        self.assertEqual(lines, [f"removed: run {folder.name}", "removed: a cache"])


if __name__ == "__main__":
    main()
