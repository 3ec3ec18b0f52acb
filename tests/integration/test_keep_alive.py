"""CONTAINERTEST_KEEP_ALIVE and CONTAINERTEST_KEEP_FAILED: what stays for the next run, and for how long."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg2

from containertest.session import Session, read_state
from tests.integration.runs import PROJECT, Runs, values
from tests.support import eventually, on_every_backend


class Keeping(Runs):
    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self.release)
        self.schema = self.folder / "schema.sql"
        shutil.copy(PROJECT / "schema.sql", self.schema)

    def release(self) -> None:
        """What ``prune`` does, without the caches that other runs use."""
        for folder in self.runs():
            with contextlib.suppress(FileNotFoundError), Session(folder, -1).state() as state:
                state["prune"] = True

    def idle(self) -> Path:
        """Wait until the run that has just ended is kept; return its folder."""
        found: list[Path] = []

        def look() -> bool:
            found[:] = [folder for folder in self.runs() if read_state(folder).get("idle")]
            return bool(found)

        self.assertTrue(eventually(look), "nothing is kept")
        return found[0]

    def keep(self, seconds: float = 600, way: str = "", **variables: str) -> dict[str, Any]:
        """One run; return what it had."""
        self.run_child("keep.py", str(self.schema), way, CONTAINERTEST_KEEP_ALIVE=str(seconds), **variables)
        return self.read("records")[-1]

    def assertSame(self, first: dict[str, Any], second: dict[str, Any]) -> None:
        for name in ("postgres", "redis", "template", "database"):
            self.assertEqual(first[name], second[name], name)

    def assertFresh(self, first: dict[str, Any], second: dict[str, Any]) -> None:
        self.assertNotEqual(first["postgres"], second["postgres"])
        self.assertNotEqual(first["redis"], second["redis"])


@on_every_backend
class KeepAlive(Keeping):
    def test_next_run_has_the_same_servers_as_they_were_at_first(self) -> None:
        first = self.keep()
        self.idle()
        second = self.keep()
        self.assertSame(first, second)
        self.assertEqual((second["rows"], second["keys"]), (0, 0))
        self.assertEqual(first["maxclients"], second["maxclients"])
        self.assertEqual(second["docker"], [], "attaching needs no Docker library")

    def test_changed_migrations_start_fresh_and_release_the_old_servers(self) -> None:
        first = self.keep()
        old = self.idle()
        with self.schema.open("a") as file:
            file.write("CREATE TABLE more ();\n")
        self.assertFresh(first, self.keep())
        self.assertTrue(eventually(lambda: not old.exists()))

    def test_callable_that_says_what_it_depends_on_is_reused_until_that_changes(self) -> None:
        first = self.keep(way="callable")
        old = self.idle()
        self.assertSame(first, self.keep(way="callable"))
        self.idle()
        with self.schema.open("a") as file:
            file.write("CREATE TABLE more ();\n")
        self.assertFresh(first, self.keep(way="callable"))
        self.assertTrue(eventually(lambda: not old.exists()))

    def test_changed_options_and_images_start_fresh(self) -> None:
        first = self.keep()
        self.idle()
        second = self.keep(CT_OPTIONS=json.dumps({"work_mem": "8MB"}))
        image = os.environ.get("CONTAINERTEST_POSTGRES_IMAGE", "postgres:16-alpine")
        third = self.keep(CONTAINERTEST_POSTGRES_IMAGE=f"docker.io/{image if '/' in image else f'library/{image}'}")
        self.assertEqual(len(values((first, second, third), "postgres")), 3)

    def test_two_runs_at_a_time_do_not_share(self) -> None:
        first = self.keep()
        self.idle()
        command = [sys.executable, "keep.py", str(self.schema), "stay"]
        environment = self.environment(CONTAINERTEST_KEEP_ALIVE="600")
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=environment, cwd=PROJECT, stdin=pipe, stdout=pipe, text=True) as staying:
            self.assertEqual(staying.stdout.readline(), "ready\n")
            second = self.read("records")[-1]
            third = self.keep()
            staying.stdin.close()
            self.assertEqual(staying.wait(60), 0)
        self.assertSame(first, second)
        self.assertFresh(second, third)

    def test_servers_go_when_the_time_is_up(self) -> None:
        self.keep(seconds=0.5)
        self.assertTrue(eventually(lambda: not self.runs()), self.runs())

    def test_server_that_died_meanwhile_is_replaced(self) -> None:
        first = self.keep()
        self.kill_postgres(self.idle())
        second = self.keep()
        self.assertNotEqual(first["postgres"], second["postgres"])
        self.assertEqual(first["redis"], second["redis"])

    def kill_postgres(self, folder: Path) -> None:
        state = read_state(folder)
        (handle,) = (
            state["handles"][entry["handle"]] for key, entry in state["servers"].items() if key.startswith("postgres")
        )
        if self.backend == "docker":
            subprocess.run(["docker", "kill", handle["id"]], check=True, capture_output=True, timeout=60)
        else:
            os.kill(int(handle["process"][0]), signal.SIGKILL)


@on_every_backend
class KeepFailed(Keeping):
    def test_failed_tests_database_can_be_looked_at_until_prune(self) -> None:
        done = self.run_child("failing.py", status=1, CONTAINERTEST_KEEP_FAILED="1")
        self.assertIn("FAILED (failures=1)", done.stderr)
        (url,) = re.findall(r"database is kept: (\S+)", done.stderr)
        self.assertNotRegex(url, "//[^/@]*:[^/@]*@")  # no password: that is in the file it names
        self.idle()
        connection = psycopg2.connect(url)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pid FROM work ORDER BY pid")
            self.assertEqual(cursor.fetchall(), [(1,), (2,), (4711,)])
        connection.close()
        pruned = self.run_child("-m", "containertest", "prune", XDG_CACHE_HOME=str(self.folder / "cache"))
        self.assertRegex(pruned.stdout, "removed: run ")
        self.assertEqual(self.runs(), [])
        with self.assertRaises(psycopg2.OperationalError):
            psycopg2.connect(url, connect_timeout=5)
