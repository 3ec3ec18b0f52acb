"""A Docker engine that is killed or restarted in the middle of a run, by the example of one of our own."""

from __future__ import annotations

import os
import signal
import unittest
from typing import Any

from containertest.settings import Settings
from tests.integration.crash.engine import OwnEngine, why_not
from tests.integration.crash.run import Run
from tests.support import REQUIRED, require


class EngineTests(unittest.TestCase):
    engine: OwnEngine
    client: Any

    @classmethod
    def setUpClass(cls) -> None:
        require("docker")
        if reason := why_not():
            if REQUIRED:
                raise AssertionError(f"an engine of our own is required here: {reason}")
            raise unittest.SkipTest(reason)
        cls.engine = OwnEngine().__enter__()
        cls.addClassCleanup(cls.engine.__exit__, None, None, None)
        settings = Settings.load()
        cls.engine.load(settings.postgres_image or "postgres:16-alpine", settings.redis_image or "redis:7-alpine")
        cls.client = cls.engine.client()
        cls.addClassCleanup(cls.client.close)

    def setUp(self) -> None:
        if self.engine.has_ended():
            self.engine.start()

    def hit_at(self, place: str) -> Run:
        """A run in which ``place`` is reached."""
        run = Run("docker", place, engine=self.client)
        self.addCleanup(run.__exit__, None, None, None)
        run.start(DOCKER_HOST=self.engine.host)
        run.wait_until_reached()
        return run

    def assert_one_test_died(self, run: Run) -> None:
        self.assertEqual(run.wait(), 1, run.said())
        told = "ServerDied: PostgreSQL on docker ended while a test was using it"
        self.assertEqual(run.said().count(told), 1, run.said())
        self.assertIn("Ran 4 tests", run.said())
        self.assertIn("FAILED (errors=1)", run.said())
        run.wait_until_gone()

    def test_run_goes_on_when_a_killed_engine_is_back(self) -> None:
        run = self.hit_at("test")
        self.engine.kill()
        run.release()
        self.engine.start()
        self.assert_one_test_died(run)

    def test_run_goes_on_when_a_restarted_engine_is_back(self) -> None:
        run = self.hit_at("test")
        self.engine.stop()
        self.engine.start()
        run.release()
        self.assert_one_test_died(run)

    def test_guard_waits_for_a_killed_engine_to_come_back(self) -> None:
        run = self.hit_at("test")
        self.engine.kill()
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        self.engine.start()
        run.wait_until_gone()

    def test_engine_killed_during_migrations_leaves_nothing(self) -> None:
        run = self.hit_at("migrations")
        self.engine.kill()
        run.release()
        self.assertEqual(run.wait(), 1, run.said())
        self.assertIn("ServerDied: PostgreSQL on docker ended while its databases were made", run.said())
        self.engine.start()
        run.wait_until_gone()

    def test_prune_removes_what_is_left_when_engine_run_and_guard_were_killed(self) -> None:
        run = self.hit_at("test")
        self.engine.kill()
        for pid in [*run.guards(), run.pid]:
            os.kill(pid, signal.SIGKILL)
        run.wait()
        self.engine.start()
        self.assertNotEqual(run.evidence.containers(), [])
        done = run.python("-m", "containertest", "prune", DOCKER_HOST=self.engine.host)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        run.wait_until_gone()
