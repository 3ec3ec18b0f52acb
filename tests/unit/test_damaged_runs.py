"""Whatever a dead run's files look like, the next run removes it; and a guard that was killed is replaced."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any
from unittest import main, mock

from containertest import backends, guard
from containertest import session as sessions
from containertest.errors import BackendUnavailable
from containertest.session import VARIABLE
from containertest.state import read_state
from tests.support import clean_environment, eventually
from tests.unit.test_guard import JOIN, GuardCase

WHOLE = json.dumps({**sessions.empty_state(["1", "dead"]), "handles": {"a": {"id": "a", "backend": "docker"}}})

#: Contents of state.json.
STATES = (
    *("", WHOLE[: len(WHOLE) // 2], "[]", "null", "7", '"text"', "[" * 100_000, "{}", '{"root": null}', "\0" * 4096),
    *('{"root": ["x", 1]}', '{"root": []}', '{"root": [[], {}]}', '{"servers": [], "handles": 7, "kept": {}}'),
    *('{"servers": {"postgres-x": 7}}', '{"servers": {"postgres-x": {"backend": "external"}}}'),
    '{"servers": {"postgres-x": {"backend": "external", "endpoint": {"planet": "x"}, "templates": []}}}',
    *('{"handles": {"a": []}}', '{"handles": {"a": {"id": "a"}}}', '{"handles": {"a": {"backend": 7}}}'),
    *('{"handles": {"a": {"id": "a", "backend": "local", "folder": 7}}}', '{"version": 99, "runs": {"a": "b"}}'),
    *('{"keep_alive": "long", "idle": 1, "failed": "never"}', '{"keep_alive": NaN, "idle": true, "servers": {"": {}}}'),
)  # fmt: skip

#: What may have become of the other files.
ODDITIES: tuple[Callable[[Path], object], ...] = (
    lambda run: [(run / name).mkdir() for name in ("state.json", "guard.log", "other")],
    lambda run: [(run / name).unlink() for name in ("alive", "state.lock")],
    lambda run: [become(run / name, Path.mkdir) for name in ("alive", "state.lock", "guard.lock")],
    lambda run: [become(run / name, os.mkfifo) for name in ("alive", "state.json", "guard.log")],
    lambda run: [become(run / name, lead_nowhere) for name in ("alive", "state.json")],
    lambda run: [(run / name).chmod(0) for name in ("alive", "state.lock")],
)  # fmt: skip


def become(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink(missing_ok=True)
    make(path)


def lead_nowhere(path: Path) -> None:
    path.symlink_to("/nowhere/at/all")


class DeadRunTests(GuardCase):
    def dead_run(self) -> Path:
        folder = sessions.base_folder() / "dead-run"
        folder.mkdir(mode=0o700)
        for name in ("alive", "state.lock"):
            (folder / name).touch(0o600)
        return folder

    def test_next_run_removes_a_run_whatever_its_state_is(self) -> None:
        for text in STATES:
            with self.subTest(text[:80]):
                folder = self.dead_run()
                (folder / "state.json").write_text(text)
                self.removed_by_the_next_run(folder)

    def test_next_run_removes_a_run_whatever_its_files_are(self) -> None:
        for number, spoil in enumerate(ODDITIES):
            with self.subTest(number):
                folder = self.dead_run()
                spoil(folder)
                self.removed_by_the_next_run(folder)

    def test_run_of_the_same_id_begins_anew_whatever_the_files_are(self) -> None:
        for number, spoil in enumerate(ODDITIES[1:]):
            with self.subTest(number):
                folder = self.dead_run()
                spoil(folder)
                self.python(JOIN, **{VARIABLE: folder.name})
                self.assertGone(folder)

    def removed_by_the_next_run(self, folder: Path) -> None:
        self.python(JOIN)
        self.assertGone(folder)

    def test_containers_of_a_damaged_state_are_looked_for_by_the_name_of_the_run(self) -> None:
        for text in ("", "[]", '{"handles": {"a": 7}}', '{"handles": {"a": {"id": "a", "backend": "broken"}}}'):
            with self.subTest(text):
                asked: list[tuple[Any, ...]] = []
                folder = self.dead_run()
                (folder / "state.json").write_text(text)
                with self.backend(lambda *arguments: asked.append(arguments)):  # noqa: B023
                    self.assertTrue(guard.remove_run(folder))
                self.assertEqual(asked, [(folder.name, {})])
                self.assertFalse(folder.exists())

    def test_handle_that_is_not_understood_is_left_for_the_name_of_the_run(self) -> None:
        def remove(name: str, handles: dict[str, Any]) -> None:
            asked.append(handles)
            for handle in handles.values():
                handle["of another version"].strip()

        asked: list[dict[str, Any]] = []
        folder = self.dead_run()
        (folder / "state.json").write_text(WHOLE)
        with self.backend(remove), redirect_stderr(io.StringIO()):
            self.assertTrue(guard.remove_run(folder))
        self.assertEqual([set(handles) for handles in asked], [{"a"}, set()])

    def test_backend_that_is_not_there_keeps_no_damaged_run(self) -> None:
        def remove(name: str, handles: dict[str, Any]) -> None:
            raise BackendUnavailable("no engine")

        folder = self.dead_run()
        (folder / "state.json").write_text("[]")
        with self.backend(remove), redirect_stderr(io.StringIO()) as log:
            self.assertTrue(guard.remove_run(folder))
        self.assertIn("not looked for on docker: no engine", log.getvalue())
        folder = self.dead_run()
        (folder / "state.json").write_text(WHOLE)
        with self.backend(remove), redirect_stderr(io.StringIO()):
            self.assertFalse(guard.remove_run(folder), "a container that is known is given up")

    def backend(self, remove: Callable[[str, dict[str, Any]], object]) -> Any:
        fake = type("Fake", (), {"remove": staticmethod(remove)})
        module = type(sys)("fake_backend")
        module.Fake = fake  # type: ignore[attr-defined]
        patch = mock.patch.dict(sys.modules, {"fake_backend": module})
        patch.start()
        self.addCleanup(patch.stop)
        return mock.patch.dict(backends.NAMES, {"docker": ("fake_backend", "Fake")}, clear=True)

    def test_state_that_is_whole_is_not_called_damaged(self) -> None:
        state = sessions.empty_state(["1", "2"])
        folder = self.dead_run()
        (folder / "state.json").write_text(json.dumps({**state, "prune": True, "failed": 1.5}))
        self.assertEqual(read_state(folder), {**state, "prune": True, "failed": 1.5})


KILL_GUARD = f"""{JOIN}
import os, pathlib, signal
from containertest.session import free
from containertest.wait import poll
lock = session.folder / "guard.lock"
def kill_guard():
    assert poll(lambda: bool(lock.stat().st_size), 60)
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\\0")
        except OSError:
            continue
        if b"containertest.guard" in words and os.fsencode(session.folder) in words:
            os.kill(int(entry.name), signal.SIGKILL)
    assert poll(lambda: free(lock), 60)
"""

WORKER = """
import multiprocessing, sys
def work():
    namespace = {}
    exec(%r, namespace)
    namespace["kill_guard"]()
    print(namespace["session"].folder, flush=True)
if __name__ == "__main__":
    if %r == "fork":
        import os
        reading, writing = os.pipe()
    process = multiprocessing.get_context(%r).Process(target=work)
    process.start()
    process.join()
    assert process.exitcode == 0
    os.kill(os.getpid(), 9) if %r == "fork" else sys.exit()
"""


class KilledGuardTests(GuardCase):
    def test_next_use_of_the_state_replaces_it(self) -> None:
        code = f"{KILL_GUARD}\nkill_guard()\nwith session.state(): pass\nassert not free(lock)\nos.kill(os.getpid(), 9)"
        self.run_gone(code, -signal.SIGKILL)

    def test_end_of_the_process_replaces_it(self) -> None:
        for end in ("", "raise SystemExit(3)", "1 / 0", "os.kill(os.getpid(), signal.SIGINT)"):
            with self.subTest(end):
                self.run_gone(f"{KILL_GUARD}\nkill_guard()\n{end}")

    def test_end_of_a_child_made_by_multiprocessing_replaces_it(self) -> None:
        """As under --forked or with a pool: such a child runs no atexit, and its parent may be killed."""
        for method in ("fork", "spawn", "forkserver"):
            with self.subTest(method):
                (self.folder / "work.py").write_text(WORKER % (KILL_GUARD, method, method, method))
                self.run_gone("import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')", None)

    def test_end_of_the_process_that_announced_the_run_replaces_it(self) -> None:
        """Its children, which have the servers, may be ended by a signal each, as those of a pool are."""
        code = f"""
            import subprocess, sys
            from containertest.session import announce
            announce()
            worker = subprocess.run([sys.executable, "-c", {KILL_GUARD!r} + "kill_guard()\\nos._exit(0)"])
            assert worker.returncode == 0
        """
        self.run_gone(code)

    def test_process_that_never_needed_servers_makes_no_folder_at_its_end(self) -> None:
        self.python("from containertest.session import announce; announce()")
        self.assertFalse(self.base.exists())

    def run_gone(self, code: str, status: int | None = None) -> None:
        import textwrap

        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), str(self.folder / "work.py")],
            env=clean_environment(TMPDIR=str(self.folder)),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if status is not None:
            self.assertEqual(done.returncode, status, done.stderr)
        self.assertNotIn("AssertionError", done.stderr)
        self.assertNotIn("atexit", done.stderr)
        self.assertTrue(eventually(lambda: not self.base.exists(), 20), f"{self.runs()} stays\n{done.stderr}")


if __name__ == "__main__":
    main()
