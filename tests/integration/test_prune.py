"""What dead runs left is removed by the next run and by ``prune``; what is anybody else's is not touched."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import unittest
from pathlib import Path
from typing import Any

from containertest.settings import Settings
from tests.integration.crash.other_user import UID
from tests.integration.crash.run import SUITE, Run
from tests.support import eventually, on_every_backend, require

PRUNE = ("-m", "containertest", "prune")
#: Makes the folder that is the first argument a private one for the program that follows.
PRIVATE = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o mode=1777 none "$0" && exec "$@"')


def docker_client(case: Any) -> Any:
    import docker

    client = docker.APIClient()
    case.addCleanup(client.close)
    return client


@on_every_backend
class Prune:
    backend: str

    def setUp(self: Any) -> None:
        if os.geteuid() != 0:
            self.skipTest("only root can be several users")
        self.engine = docker_client(self) if self.backend == "docker" else None

    def started(self: Any, beside: Run | None = None, **options: Any) -> Run:
        """A run in the middle of a test."""
        run = Run(self.backend, "test", beside=beside, engine=self.engine)
        self.addCleanup(run.__exit__, None, None, None)
        run.start(**options)
        run.wait_until_reached()
        return run

    def kill(self: Any, run: Run) -> None:
        for pid in [*run.guards(), run.pid]:
            os.kill(pid, signal.SIGKILL)
        run.wait()

    def clean(self: Any, run: Run) -> None:
        """Do what finds dead runs: ``prune``, and another run."""
        for arguments in (PRUNE, SUITE):
            done = run.python(*arguments, CT_CRASH_PLACE="")
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_live_run_with_the_same_folder_is_not_touched(self: Any) -> None:
        live = self.started()
        dead = self.started(beside=live)
        self.kill(dead)
        self.assertEqual(len(self.runs(live)), 2)
        self.clean(live)
        self.assertTrue(eventually(lambda: [path.name.split("-")[0] for path in self.runs(live)] == [str(live.pid)]))
        live.release()
        self.assertEqual(live.wait(), 0, live.said())
        live.wait_until_gone()

    def runs(self: Any, run: Run) -> list[Path]:
        return list(run.temporary.glob(f"containertest-{os.getuid()}/*-*"))

    def test_live_run_with_a_private_folder_of_that_name_is_not_touched(self: Any) -> None:
        """Such as under systemd's PrivateTmp, or in a container that shares the engine."""
        outside = Run(self.backend, engine=self.engine)
        self.addCleanup(outside.__exit__, None, None, None)
        live = Run(self.backend, "test", beside=outside, engine=self.engine)
        self.addCleanup(live.__exit__, None, None, None)
        live.start(prefix=(*PRIVATE, str(live.temporary)))
        live.wait_until_reached()
        self.assertEqual(list(outside.temporary.iterdir()), [])
        self.clean(outside)
        live.release()
        self.assertEqual(live.wait(), 0, live.said())
        outside.wait_until_gone()

    def test_other_users_things_are_not_touched(self: Any) -> None:
        run = self.started()
        theirs = [*self.folders_of_other_user(run), *self.containers_of_others(run)]
        self.kill(run)
        self.clean(run)
        self.assertEqual([thing for thing in theirs if not self.is_there(thing)], [])

    def is_there(self: Any, thing: Path | int | str) -> bool:
        if isinstance(thing, str):
            return bool(self.engine.containers(filters={"id": thing}))
        return Path(f"/proc/{thing}/stat").exists() if isinstance(thing, int) else thing.exists()

    def folders_of_other_user(self: Any, run: Run) -> list[Path | int | str]:
        """A dead run of another user, with data in which a process of his still works."""
        folder = run.temporary / f"containertest-{UID}" / "123-456"
        data = run.temporary / "containertest-data-0123456789abcdef"
        handle = {"id": data.name, "backend": "local", "folder": str(data), "process": None, "session": folder.name}
        state = {"root": ["123", "456"], "servers": {}, "handles": {data.name: handle}, "keep_alive": 0, "kept": []}
        for path in (folder, data / "data"):
            path.mkdir(parents=True)
        for name in ("alive", "state.lock"):
            (folder / name).touch()
        (folder / "state.json").write_text(json.dumps(state))
        (data / f"session-{folder.name}").touch()
        for path in (folder.parent, *folder.parent.rglob("*"), data, *data.rglob("*")):
            os.chown(path, UID, UID)
        process = subprocess.Popen(["sleep", "600"], user=UID, group=UID, cwd=data / "data")
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return [folder / "state.json", data / f"session-{folder.name}", process.pid]

    def containers_of_others(self: Any, run: Run) -> list[str]:
        """One of another user, one of another machine with the same engine, and one that is not this library's."""
        if self.engine is None:
            return []
        (own, *_) = run.evidence.containers()
        lost = {**own["Labels"], "containertest.folder": str(run.temporary / "lost"), "containertest.session": "lost"}
        theirs = ({**lost, "containertest.uid": str(UID)}, {**lost, "containertest.host": "another machine"}, {})
        return [self.container(labels) for labels in theirs]

    def container(self: Any, labels: dict[str, str]) -> str:
        image = Settings.load().redis_image or "redis:7-alpine"
        identity: str = self.engine.create_container(image, labels=labels)["Id"]
        self.addCleanup(self.engine.remove_container, identity, force=True, v=True)
        self.engine.start(identity)
        return identity


class CleanedTests(unittest.TestCase):
    """Somebody cleans the folder for temporary files as soon as the tests have ended, before the guard has."""

    def test_local_servers_are_ended_all_the_same(self) -> None:
        require("local")
        with Run("local", "test") as run:
            run.start()
            run.wait_until_reached()
            guards = run.guards()
            for pid in guards:
                os.kill(pid, signal.SIGSTOP)
            run.release()
            run.wait()
            for path in run.temporary.iterdir():
                shutil.rmtree(path)
            for pid in guards:
                os.kill(pid, signal.SIGCONT)
            run.wait_until_gone()


class LostTests(unittest.TestCase):
    """Containers whose run has lost its folder."""

    def setUp(self) -> None:
        require("docker")
        self.engine = docker_client(self)
        self.run_ = Run("docker", "test", engine=self.engine)
        self.addCleanup(self.run_.__exit__, None, None, None)
        self.run_.start()
        self.run_.wait_until_reached()

    def test_folder_that_somebody_removed_does_not_keep_the_guard_from_its_work(self) -> None:
        (folder,) = self.run_.temporary.glob("containertest-*")
        subprocess.run(["rm", "-r", str(folder)], check=True)
        self.run_.release()
        self.run_.wait()
        self.run_.wait_until_gone()

    def test_containers_without_a_guard_and_a_folder_are_removed(self) -> None:
        self.kill_all()
        (folder,) = self.run_.temporary.glob("containertest-*")
        subprocess.run(["rm", "-r", str(folder)], check=True)
        self.assertEqual(self.run_.python(*PRUNE).returncode, 0)
        self.run_.wait_until_gone()

    def test_containers_of_an_earlier_boot_are_removed_wherever_their_folder_was(self) -> None:
        (own, *_) = self.run_.evidence.containers()
        lost = {"containertest.session": "lost", "containertest.mounts": "mnt:[1]", "containertest.boot": "earlier"}
        identity = self.engine.create_container(own["Image"], labels={**own["Labels"], **lost})["Id"]
        self.assertEqual(self.run_.python(*PRUNE).returncode, 0)
        found = [container["Id"] for container in self.run_.evidence.containers()]
        self.assertNotIn(identity, found)
        self.assertIn(own["Id"], found)
        self.run_.release()
        self.assertEqual(self.run_.wait(), 0, self.run_.said())
        self.run_.wait_until_gone()

    def kill_all(self) -> None:
        for pid in [*self.run_.guards(), self.run_.pid]:
            os.kill(pid, signal.SIGKILL)
        self.run_.wait()
