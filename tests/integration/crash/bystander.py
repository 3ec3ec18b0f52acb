"""A run that goes on while others are hit: it answers each file ``ping`` by testing what it has, until ``stop``."""

from __future__ import annotations

import os
from pathlib import Path

from containertest import ContainerManager, IntegrationTestCase
from containertest.wait import poll
from tests.integration.crash.marks import FOLDER, PATIENCE

containers = ContainerManager(migrations=str(Path(__file__).with_name("bystander.sql")))
setUpModule, tearDownModule = containers.start, containers.stop


class Tests(IntegrationTestCase):
    containers = containers

    def test_nothing_happens_to_it(self) -> None:
        self.folder = Path(os.environ[FOLDER])
        self.servers = (self.containers.postgres.port, self.containers.redis.port)
        self.answer()
        while not (self.folder / "stop").exists():
            self.assertTrue(poll(self.is_wanted, PATIENCE, interval=0.02), "the tests of crashes have gone away")
            self.answer()

    def is_wanted(self) -> bool:
        return (self.folder / "ping").exists() or (self.folder / "stop").exists()

    def answer(self) -> None:
        self.assertRowCount("things", 1)
        self.assertNoKey("key")
        with self.db.cursor() as cursor:
            cursor.execute("INSERT INTO things DEFAULT VALUES RETURNING id")
            self.assertEqual(cursor.fetchone(), (2,))
        self.redis.set("key", 1)
        self.reset_all()
        self.assertEqual((self.containers.postgres.port, self.containers.redis.port), self.servers)
        (self.folder / "ping").unlink(missing_ok=True)
        (self.folder / "answered").touch()
