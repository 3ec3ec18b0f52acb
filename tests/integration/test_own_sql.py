"""The library's own SQL means the same whatever an application has told psycopg2."""

from __future__ import annotations

import unittest

from tests.integration.user_project import Project
from tests.support import require

#: Adapters and types of an application that make something else of whatever they get.
REGISTERED = """
import psycopg2
from psycopg2 import extensions, extras

class Odd:
    def __init__(self, value):
        self.value = value
    def __eq__(self, other):
        return False
    def getquoted(self):
        return b"'odd'"

for kind in (str, int, bool, list, tuple, dict, float, bytes, type(None)):
    extensions.register_adapter(kind, Odd)
oids = (16, 18, 19, 20, 21, 23, 25, 26, 114, 701, 705, 1003, 1005, 1007, 1009, 1016, 1028, 1042, 1043, 1184, 1700, 3802)
extensions.register_type(extensions.new_type(oids, "ODD", lambda value, cursor: Odd(value)))
extensions.register_type(extensions.new_array_type((1009, 1007, 1016, 1028, 1003), "ODD[]", extensions.UNICODE))
"""

#: A wait callback as psycogreen's: with it psycopg2 refuses COPY.
GREEN = """
import select
from psycopg2 import extensions

def wait(connection):
    while (state := connection.poll()) != extensions.POLL_OK:
        if state == extensions.POLL_READ:
            select.select([connection.fileno()], [], [])
        else:
            select.select([], [connection.fileno()], [])

extensions.set_wait_callback(wait)
"""

TESTS = """
import os
{application}
from containertest import ContainerManager, PostgresTestCase

containers = ContainerManager(redis=None, migrations="schema.sql")
setUpModule, tearDownModule = containers.start, containers.stop

def names(cls):
    with cls.db.cursor(cursor_factory=extensions.cursor) as cursor:
        cursor.execute("SELECT string_agg(name, ',' ORDER BY id)::cstring FROM item")
        return cursor.fetchone()[0]

def execute(cls, statement):
    with cls.db.cursor() as cursor:
        cursor.execute(statement)

class Plain(PostgresTestCase):
    containers = containers
    baseline = "a,b"

    def look(self):
        self.assertEqual(names(self), self.baseline)
        execute(self, "INSERT INTO item (name) VALUES ('new'); SELECT setval('alone', 7, false)")
        execute(self, "DELETE FROM item WHERE name = 'a'; UPDATE item SET name = upper(name)")

    test_1 = test_2 = test_3 = look

class Ddl(Plain):
    def look(self):
        super().look()
        execute(self, "CREATE TABLE made (i int); ALTER DATABASE testdb SET work_mem = '9MB'")

    test_1 = test_2 = test_3 = test_4 = look

class WithData(Plain):
    fixtures = ["items.sql"]
    baseline = "a,b,copied,class"

    @classmethod
    def setUpTestData(cls):
        execute(cls, "INSERT INTO item (name) VALUES ('class')")

class WithDdlAsData(Plain):
    baseline = "a,b,class"

    @classmethod
    def setUpTestData(cls):
        execute(cls, "CREATE TABLE of_class (i int); INSERT INTO item (name) VALUES ('class')")

class Snapshot(Plain):
    baseline = "a,b,taken"

    @classmethod
    def setUpClass(cls):
        execute(cls, "INSERT INTO item (name) VALUES ('taken')")
        containers.snapshot()
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        containers.restore()
        assert names(cls) == "a,b", names(cls)

class Fails(Plain):
    def test_0_fails(self):
        execute(self, "INSERT INTO item (name) VALUES ('failed')")
        self.fail("on purpose")

class Leaves(Plain):
    def test_0_leaves_a_transaction_open(self):
        type(self).left = containers.postgres.connect()
        self.left.cursor().execute("INSERT INTO item (name) VALUES ('left')")
"""

SCHEMA = """
CREATE TABLE item (id serial PRIMARY KEY, name text NOT NULL);
CREATE SEQUENCE alone;
COPY item (name) FROM stdin;
a
b
\\.
"""

FIXTURE = "COPY item (name) FROM stdin;\ncopied\n\\.\nCREATE TEMP TABLE t AS SELECT 1;\n"


class OwnSqlTests(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        require("local")

    def run_with(self, application: str, **variables: str) -> str:
        project = self.project = Project(self)
        project.write("test_it.py", TESTS.replace("{application}", application))
        project.write("schema.sql", SCHEMA)
        project.write("items.sql", FIXTURE)
        run = project.run("-m", "unittest", CONTAINERTEST_BACKEND="local", **variables)
        self.assertEqual([lines[-1] for lines in run.errors], ["AssertionError: on purpose"], run.output)
        self.assertIn("Ran 24 tests", run.output)
        return run.output

    def test_adapters_and_types_of_an_application_are_not_for_our_statements(self) -> None:
        self.run_with(REGISTERED)

    def test_wait_callback_of_an_application_is_not_for_copy(self) -> None:
        self.run_with(GREEN)

    def test_kept_database_needs_neither(self) -> None:
        self.assertIn("its database is kept", self.run_with(REGISTERED + GREEN, CONTAINERTEST_KEEP_FAILED="1"))
        self.project.run("-m", "containertest", "prune", XDG_CACHE_HOME=str(self.project.temporary))


if __name__ == "__main__":
    unittest.main()
