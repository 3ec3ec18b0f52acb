"""The suite that the tests of crashes hit, as a user would write one. It is no test of this library."""

from __future__ import annotations

import os

from containertest import ContainerManager, IntegrationTestCase
from tests.integration.crash.marks import FOLDER, reach


def migrate(url: str) -> None:
    import psycopg2

    with open(os.path.join(os.environ[FOLDER], "migrated"), "a") as file:
        file.write("once\n")
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE things (id serial PRIMARY KEY, name text NOT NULL)")
        reach("migrations")
        cursor.execute("INSERT INTO things (name) VALUES ('from the migrations')")
    connection.close()


containers = ContainerManager(migrations=migrate)


def setUpModule() -> None:
    containers.start()
    reach("module")


def tearDownModule() -> None:
    containers.stop()


class Tests(IntegrationTestCase):
    containers = containers

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        reach("class")

    @classmethod
    def setUpTestData(cls) -> None:
        with cls.db.cursor() as cursor:
            cursor.execute("INSERT INTO things (name) VALUES ('from the class')")
            cursor.execute("CREATE TABLE things_of_the_class (id int)")
        cls.redis.set("from the class", 1)

    def write(self) -> None:
        self.assertRowCount("things", 2)
        self.assertKeyExists("from the class")
        with self.db.cursor() as cursor:
            cursor.execute("INSERT INTO things (name) VALUES ('from a test') RETURNING id")
            self.assertEqual(cursor.fetchone(), (3,))
        self.redis.set("from a test", 1)

    def test_1(self) -> None:
        self.write()

    def test_2_is_hit(self) -> None:
        # What makes a database hard to drop: an open transaction, and a prepared one.
        self.connect().cursor().execute("INSERT INTO things (name) VALUES ('in a transaction')")
        prepared = self.connect()
        prepared.cursor().execute("INSERT INTO things (name) VALUES ('prepared')")
        prepared.cursor().execute("PREPARE TRANSACTION %s", (self.unique_key(),))
        reach("test")
        self.assertRowCount("things", 2)
        self.redis.set("from a test", 1)

    def test_3(self) -> None:
        self.write()

    def test_4(self) -> None:
        self.write()
