"""What a run has kept, and which new run gets it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import unittest
from typing import Any

from containertest import session as sessions
from containertest.processes import myself
from containertest.servers.kept import Wanted, take_over
from containertest.session import VARIABLE, Session
from tests.unit.test_session import TemporaryFolderCase

SERVERS = {
    "postgres-1": {"templates": {"ct_template_abc": True, "ct_template_bad": False}},
    "redis-2-purpose-1-1": {"templates": {}},
}
WANTED = Wanted("postgres-1", "ct_template_abc")


class TakeOverTests(TemporaryFolderCase):
    """Which idle run a new one goes on with; the runs' states are written by hand."""

    def setUp(self) -> None:
        super().setUp()
        self.idle = sessions.base_folder() / "old"
        self.idle.mkdir(mode=0o700)
        self.write(idle=True, servers=SERVERS)
        self.held = os.open(self.idle / "guard.lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self.held, fcntl.LOCK_EX)
        self.addCleanup(os.close, self.held)

    def write(self, **values: Any) -> None:
        state = {**sessions.empty_state(["1", "dead"]), "keep_alive": 600.0, **values}
        (self.idle / "state.json").write_text(json.dumps(state))

    def take_over(self, wanted: Wanted = WANTED) -> Session:
        take_over(wanted)
        return self.join(keep_alive=600)

    def test_idle_run_with_the_server_goes_on_under_the_new_name(self) -> None:
        session = self.take_over()
        self.assertEqual(session.folder, self.idle)
        self.assertTrue((self.base / "-".join(myself())).is_symlink())
        state = sessions.read_state(self.idle)
        self.assertEqual((state["idle"], state["root"]), (False, myself()))
        self.assertEqual(state["servers"], SERVERS)

    def test_second_process_of_the_run_finds_it_too(self) -> None:
        self.take_over()
        name = self.python(
            "from containertest.session import Session; print(Session.join().folder)",
            **{VARIABLE: os.environ[VARIABLE]},
        )
        self.assertEqual(name, str(self.idle))

    def test_unfit_runs_are_not_taken(self) -> None:
        for reason, values, wanted in (
            ("another server", {}, Wanted("postgres-2")),
            ("other migrations", {}, Wanted("postgres-1", "ct_template_def")),
            ("migrations that failed", {}, Wanted("postgres-1", "ct_template_bad")),
            ("a callable among the migrations", {}, Wanted("postgres-1", None)),
            ("busy", {"idle": False}, WANTED),
            ("to be pruned", {"prune": True}, WANTED),
        ):
            with self.subTest(reason):
                self.write(**{"idle": True, "servers": SERVERS, **values})
                session = self.take_over(wanted)
                self.assertNotEqual(session.folder, self.idle)
                session.leave()
                shutil.rmtree(session.folder)
                os.environ.pop(VARIABLE)

    def test_redis_alone_is_found_though_each_process_has_its_own(self) -> None:
        self.assertEqual(self.take_over(Wanted("redis-2")).folder, self.idle)

    def test_what_other_migrations_of_the_same_project_left_is_released(self) -> None:
        self.take_over(Wanted("postgres-1", "ct_template_def"))
        self.assertTrue(sessions.read_state(self.idle)["prune"])

    def test_what_others_keep_is_not_released(self) -> None:
        for reason, values, wanted in (
            ("another project", {"where": "/elsewhere"}, "postgres-1"),
            ("another server", {}, "postgres-2"),
            ("it has a failed test's database", {"kept": ["failed_1_test"]}, "postgres-1"),
            ("it is busy", {"idle": False}, "postgres-1"),
        ):
            with self.subTest(reason):
                self.write(**{"idle": True, "servers": SERVERS, **values})
                session = self.take_over(Wanted(wanted, "ct_template_def"))
                self.assertNotIn("prune", sessions.read_state(self.idle))
                session.leave()
                shutil.rmtree(session.folder)
                os.environ.pop(VARIABLE)

    def test_only_one_of_two_new_runs_gets_it(self) -> None:
        first = self.take_over()
        os.environ[VARIABLE] = "another-run"
        second = self.take_over()
        self.assertEqual(first.folder, self.idle)
        self.assertNotEqual(second.folder, self.idle)

    def test_name_of_a_run_that_is_gone_is_free_again(self) -> None:
        name = sessions.base_folder() / "-".join(myself())
        name.symlink_to(self.base / "gone")
        self.assertFalse(self.join().folder.is_symlink())
        self.assertTrue(name.is_dir())


if __name__ == "__main__":
    unittest.main()
