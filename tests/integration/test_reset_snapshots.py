"""Baselines on top of the migrations': snapshots, and the data of test classes and their base classes."""

from __future__ import annotations

import contextlib
import unittest
import warnings
from unittest import mock

import psycopg2

from containertest import ContainerManager, IntegrationTestCase, PostgresTestCase
from containertest.errors import ResetError
from containertest.reset import pg_baseline, pg_database, pg_others, pg_prepare
from tests.integration.reset_case import SCHEMA, SMALL, Baseline, ResetCase
from tests.integration.test_reset_postgres import INSERT
from tests.support import require, run_case

#: What a snapshot is made of. Names that start with "template" are of those that need a template database.
SNAPSHOTS = {
    "rows": INSERT,
    "rows of the migrations changed": "UPDATE country SET name = upper(name); DELETE FROM node WHERE id = 3",
    "rows gone": "DELETE FROM no_key; TRUNCATE watched",
    "rows in all kinds of columns": """
        INSERT INTO odd ("two words", seen, raw, ratio, tags, doc, whole) SELECT "two words" || 'x', seen, raw, ratio,
            tags, doc, whole FROM odd
    """,
    "children": "INSERT INTO book (author_id, title) VALUES (1, 'b'); INSERT INTO review (book_id) VALUES (1)",
    "circle": "INSERT INTO egg VALUES (3, 1); INSERT INTO hen VALUES (3, 3); UPDATE egg SET hen = 3",
    "partitions and inheritance": """
        INSERT INTO event (at, what) VALUES ('2001-02-02', 'y'), ('2022-02-02', 'a');
        INSERT INTO dog (name) VALUES ('x')
    """,
    "sequences": "SELECT nextval('ticket'), nextval('cached'), setval('ready', 70), setval('called', 1, false)",
    "sequence of a table": "INSERT INTO author (email) SELECT i FROM generate_series(1, 9) i; DELETE FROM author",
    "unlogged": "INSERT INTO cache (body) VALUES ('x')",
    "table without columns": "INSERT INTO bare DEFAULT VALUES; INSERT INTO bare DEFAULT VALUES",
    "nothing": "SELECT 1",
    "template: table with triggers that always fire": "INSERT INTO always DEFAULT VALUES",
    "template: new table": "CREATE TABLE t (id serial); INSERT INTO t DEFAULT VALUES; SELECT nextval('ticket')",
    "template: large objects": "SELECT lo_from_bytea(0, 'x'); SELECT lo_put(54711, 0, 'X')",
    "template: setting": "ALTER DATABASE {name} SET work_mem = '3MB'; COMMENT ON DATABASE {name} IS 'x'",
    "template: much": "INSERT INTO audit (line) SELECT i FROM generate_series(1, 10001) i",
}

#: What a test then does; each is undone in place, or by a new clone.
DIRT = [
    "INSERT INTO author (email) VALUES ('y@example.com'); UPDATE country SET name = 'z'; DELETE FROM odd",
    "TRUNCATE author, book, review, node, no_key CASCADE; SELECT nextval('ticket'), nextval('cached')",
    "DELETE FROM event; UPDATE animal SET name = 'q'; UPDATE egg SET hen = 1; SELECT setval('ready', 1)",
    "DROP TABLE review; DELETE FROM author; SELECT nextval('called')",
    "SELECT lo_from_bytea(0, 'z'); ALTER DATABASE {name} SET work_mem = '9MB'",
    "SELECT lo_put(54711, 0, 'Q')",
]


class SnapshotTests(ResetCase):
    """One for each entry of SNAPSHOTS; made below."""

    schema = SCHEMA

    def check(self, statements):
        self.execute(statements.replace("{name}", self.database.name))
        before = self.rows()
        self.snapshot()
        self.assertEqual(self.rows(), before)
        snapshot = Baseline(self.database)
        for dirt in DIRT:
            self.execute(dirt.replace("{name}", self.database.name))
            self.resetter.reset()
            self.assertEqual(snapshot.difference(), "", dirt)
        self.restore()
        self.assert_baseline()
        self.execute(DIRT[0])
        self.resetter.reset()
        self.assert_baseline()

    def check_base(self, statements):
        """The same as a base, with what a class lays over it: in place, and by a template of its own."""
        self.execute(statements.replace("{name}", self.database.name))
        self.snapshot(base=True)
        base = Baseline(self.database)
        for data, dirt in (("INSERT INTO author (email) VALUES ('class')", 0), ("CREATE TABLE of_class (i int)", 3)):
            with self.subTest(data):
                self.execute(data)
                self.snapshot()
                of_class = Baseline(self.database)
                self.execute(DIRT[dirt])
                self.resetter.reset()
                self.assertEqual(of_class.difference(), "")
                self.execute(DIRT[1])
                self.restore()
                self.assertEqual(base.difference(), "")
                self.execute(DIRT[dirt])
                self.resetter.reset()
                self.assertEqual(base.difference(), "")
        self.restore(everything=True)
        self.assert_baseline()
        self.assertEqual(self.templates(), [])

    def rows(self):
        return [line for line in Baseline(self.database).brief if not line.startswith("pg_catalog")]

    def test_second_snapshot_goes_on_from_the_first(self):
        for statement in (INSERT, "CREATE TABLE t (i int)", "INSERT INTO t VALUES (1)", "DELETE FROM no_key"):
            self.execute(statement)
            self.snapshot()
            snapshot = Baseline(self.database)
            for dirt in DIRT:
                self.execute(dirt.replace("{name}", self.database.name))
                self.resetter.reset()
                self.assertEqual(snapshot.difference(), "", (statement, dirt))
        self.restore()
        self.assert_baseline()

    def test_snapshot_of_rows_leaves_no_template_behind(self):
        self.execute(INSERT)
        self.snapshot()
        self.assertEqual(self.templates(), [])

    def test_template_of_a_snapshot_goes_with_it(self):
        for _ in range(3):
            self.execute("CREATE TABLE t (i int)")
            self.snapshot()
            self.assertEqual(len(self.templates()), 1)
            self.restore()
            self.assertEqual(self.templates(), [])

    def test_sessions_of_others_live_on_when_rows_of_a_class_are_taken_back_to_a_base(self):
        other = self.connect()
        self.execute(INSERT)
        self.snapshot(base=True)
        self.execute("DELETE FROM book; DELETE FROM author")
        self.snapshot()
        with self.in_place():
            self.restore()
        self.assertEqual(self.value("SELECT count(*) FROM author WHERE email = 'o@example.com'", other), 1)

    def base_under_a_class(self):
        """Make a base and a class's rows on it, and return the base."""
        self.execute(INSERT)
        self.snapshot(base=True)
        base = Baseline(self.database)
        self.execute("UPDATE country SET name = name || 'c'")
        self.snapshot()
        return base

    def test_transaction_that_goes_on_beside_it_does_not_get_into_a_base_that_is_laid(self):
        """Its rows would have lower transaction ids than the base's: nobody could tell them from those later."""
        base = self.base_under_a_class()
        other = self.connect(autocommit=False)
        self.execute("INSERT INTO author (email) VALUES ('beside')", other)
        # Not found as a leftover: as if it had just begun.
        with mock.patch.object(pg_others, "find_lasting", return_value=[]):
            self.restore()
        with contextlib.suppress(psycopg2.Error):
            other.commit()
        self.resetter.reset()
        self.assertEqual(base.difference(), "")

    def test_snapshot_beside_a_writer_that_never_rests_says_so(self):
        before = Baseline(self.database)
        self.execute("INSERT INTO author (email) VALUES ('beside')", self.connect(autocommit=False))
        with (
            mock.patch.object(pg_others, "find_lasting", return_value=[]),
            mock.patch.object(pg_baseline, "PATIENCE", 0.1),
            self.assertRaisesRegex(ResetError, "goes on writing"),
        ):
            self.snapshot()
        with self.assertWarns(ResourceWarning):
            self.resetter.reset()
        self.assertEqual(before.difference(), "")

    def test_snapshot_waits_for_a_moment_in_which_nobody_writes(self):
        other = self.connect(autocommit=False)
        self.execute("INSERT INTO author (email) VALUES ('beside')", other)
        looks = []

        def commit_at_the_third(database, *more):
            looks.append(1)
            if len(looks) == 3:
                other.commit()
            return call(database, *more)

        call = self.resetter._baseline._call
        with (
            mock.patch.object(pg_others, "find_lasting", return_value=[]),
            mock.patch.object(self.resetter._baseline, "_call", commit_at_the_third),
        ):
            self.snapshot()
        self.execute("DELETE FROM author")
        self.resetter.reset()
        self.assertEqual(self.value("SELECT count(*) FROM author WHERE email = 'beside'"), 1)

    def test_writer_that_is_faster_than_each_clone_neither_takes_a_base_along_nor_gets_into_it(self):
        self.execute(INSERT)
        self.snapshot(base=True)
        base = Baseline(self.database)
        begin, others = self.resetter._baseline._begin, []

        def write_first(*args):
            others.append(self.connect())
            self.execute(
                f"INSERT INTO no_key VALUES (7); INSERT INTO author (email) VALUES ({len(others)})", others[-1]
            )
            return begin(*args)

        self.execute("CREATE TABLE t (i int)")
        with mock.patch.object(self.resetter._baseline, "_begin", write_first):
            self.resetter.reset()
        self.assertGreater(len(others), 1)
        self.resetter.reset()
        self.assertEqual(base.difference(), "")

    def test_base_on_a_base_takes_its_place(self):
        for statement in (INSERT, "CREATE TABLE t (i int)", "INSERT INTO t VALUES (1)", "CREATE TABLE u ()"):
            self.execute(statement)
            self.snapshot(base=True)
            base = Baseline(self.database)
            self.execute("CREATE TABLE of_class (i int)")
            self.snapshot()
            self.execute("INSERT INTO of_class VALUES (1)")
            self.snapshot()
            self.restore()
            self.assertEqual(base.difference(), "")
            self.assertLessEqual(len(self.templates()), 1)

    def test_leftover_that_is_found_on_the_way_to_a_base_does_not_lose_it(self):
        base = self.base_under_a_class()
        self.execute("DELETE FROM author", self.connect(autocommit=False))
        with mock.patch.object(self.resetter, "_strict", True), self.assertRaises(ResetError):
            self.restore()
        self.resetter.reset()
        self.assertEqual(base.difference(), "")

    def templates(self):
        return self.execute(
            f"SELECT datname FROM pg_database WHERE datname LIKE 'ct\\_template\\_{self.database.name}\\__'"
        )

    def test_transaction_left_open_is_no_part_of_a_snapshot(self):
        connection = self.connect(autocommit=False)
        self.execute("INSERT INTO author (email) VALUES ('open')", connection)
        with self.assertWarnsRegex(ResourceWarning, "before this snapshot: .*'open'"):
            self.snapshot()
        with self.assertRaises(psycopg2.Error):
            connection.commit()
        self.resetter.reset()
        self.assertEqual(self.value("SELECT count(*) FROM author WHERE email = 'open'"), 0)

    def test_prepared_transaction_is_no_part_of_a_snapshot(self):
        self.execute("BEGIN; INSERT INTO author (email) VALUES ('p'); PREPARE TRANSACTION 'p'")
        self.snapshot()
        with self.assertRaises(psycopg2.errors.UndefinedObject):
            self.execute("COMMIT PREPARED 'p'")

    def test_settings_of_the_session_that_made_a_snapshot_do_not_matter(self):
        self.execute("CREATE TABLE no_key_at (at timestamptz, list text[])")
        self.snapshot()
        for setting in (
            *("SET timezone = 'Asia/Tokyo'", "SET array_nulls = off", "SET default_transaction_read_only = on"),
            *("SET ROLE app", "SET SESSION AUTHORIZATION app", "SET search_path = pg_temp"),
        ):
            with self.subTest(setting):
                self.execute("INSERT INTO no_key_at VALUES ('2021-01-01 12:00+00', '{NULL}'), (now(), '{}')")
                self.execute(setting)
                self.snapshot()
                snapshot = Baseline(self.database)
                self.execute("DELETE FROM no_key_at WHERE list = '{}'")
                self.resetter.reset()
                self.assertEqual(snapshot.difference(), "")

    def test_snapshot_that_fails_says_why_and_the_baseline_stays(self):
        self.execute("CREATE TABLE t (i int)")
        broken = mock.patch(
            "containertest.reset.pg_database.clone_database", side_effect=psycopg2.errors.DiskFull("full")
        )
        with broken, self.assertRaisesRegex(ResetError, f"snapshot.*{self.database.name}.*full"):
            self.snapshot()
        self.restore()
        self.assert_baseline()

    def test_snapshot_without_the_schema_of_ours_says_why(self):
        self.execute("DROP SCHEMA containertest CASCADE")
        with self.assertRaisesRegex(ResetError, "containertest"):
            self.snapshot()
        self.resetter.reset()
        self.assert_baseline()

    def test_transaction_that_a_test_leaves_on_the_shared_connection_does_not_keep_the_data_of_its_class(self):
        for statement in ("CREATE TABLE t (i int)", "INSERT INTO t VALUES (1)"):
            self.execute(statement)
            self.snapshot(base=True)
            base = Baseline(self.database)
            for left in ("BEGIN; DELETE FROM author", "BEGIN; INSERT INTO author (email) VALUES ('left')"):
                with self.subTest((statement, left)):
                    self.execute("INSERT INTO author (email) VALUES ('class')")
                    self.snapshot()
                    self.execute(left)
                    with self.in_place():
                        self.restore()
                    self.assertEqual(base.difference(), "")

    def test_interrupted_snapshot_is_none(self):
        for base in ("INSERT INTO no_key VALUES (5)", "CREATE TABLE t (i int)"):
            self.execute(base)
            self.snapshot(base=True)
            before = Baseline(self.database)
            for data in (INSERT, "CREATE TABLE of_class (i int); DELETE FROM author; SELECT nextval('ticket')"):
                for again in (self.restore, self.resetter.reset):
                    for interrupted in self.interrupted(self.snapshot, data):
                        with self.subTest((base, data, again, interrupted)):
                            again()
                            self.assertEqual(before.difference(), "")
                            self.execute("DELETE FROM no_key")
                            self.resetter.reset()
                            self.assertEqual(before.difference(), "")

    def test_snapshot_after_an_interrupted_one_has_what_is_there(self):
        for data in ("INSERT INTO no_key VALUES (5)", "CREATE TABLE t (i int); INSERT INTO no_key VALUES (6)"):
            for interrupted in self.interrupted(self.snapshot, data):
                with self.subTest((data, interrupted)):
                    self.assert_snapshot_comes_back("DELETE FROM no_key; DROP TABLE IF EXISTS t")

    def test_restore_that_is_interrupted_can_be_done_again(self):
        for base in ("INSERT INTO no_key VALUES (5)", "CREATE TABLE t (i int)", "INSERT INTO t VALUES (5)"):
            self.execute(base)
            self.snapshot(base=True)
            before = Baseline(self.database)
            for data in ("INSERT INTO no_key VALUES (6)", "CREATE TABLE of_class (i int); DELETE FROM author"):
                for again in (self.restore, self.resetter.reset):
                    for interrupted in self.interrupted(self.restore, data, snapshot=True):
                        with self.subTest((base, data, again, interrupted)):
                            again()
                            self.assertEqual(before.difference(), "")
                            self.execute("DELETE FROM no_key")
                            self.resetter.reset()
                            self.assertEqual(before.difference(), "")

    def interrupted(self, call, data, *, snapshot=False):
        """Make ``data``, and a ``snapshot`` of it, and have each step of ``call`` end with an interrupt, one a time."""
        baseline = self.resetter._baseline
        for owner, step in (
            *((baseline, "_call"), (baseline, "_push"), (baseline, "_lay"), (pg_database, "replace")),
            *((pg_prepare, "prepare"), (pg_database, "clone_database"), (self.resetter, "_look")),
        ):
            self.execute(data)
            if snapshot:
                self.snapshot()
            before = getattr(owner, step)

            def interrupt(*args, before=before):
                before(*args)
                raise KeyboardInterrupt

            with mock.patch.object(owner, step, interrupt), contextlib.suppress(KeyboardInterrupt):
                call()
                step = ""
            if step:
                yield step
            else:
                self.restore()

    def test_restore_after_the_loss_of_a_snapshots_template(self):
        self.execute("CREATE TABLE t (i int)")
        self.snapshot()
        with self.database.admin() as cursor:
            for (name,) in self.templates():
                cursor.execute(f"DROP DATABASE {name}")
        self.execute("DROP TABLE t")
        with self.assertRaisesRegex(ResetError, "cloned anew"):
            self.resetter.reset()
        self.restore()
        self.assert_baseline()


def _add_test(name, statements):
    def test(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.check(statements)

    def test_base(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.check_base(statements)

    name = name.replace(" ", "_").replace(":", "")
    setattr(SnapshotTests, f"test_{name}", test)
    setattr(SnapshotTests, f"test_base_of_{name}", test_base)


for _name, _statements in SNAPSHOTS.items():
    _add_test(_name, _statements)


def migrate(url):
    """The migration of the tests through the public classes."""
    connection = psycopg2.connect(url)
    connection.cursor().execute(SMALL)
    connection.commit()
    connection.close()


class ClassDataTests(unittest.TestCase):
    """Through the public classes, with inner test cases."""

    @classmethod
    def setUpClass(cls):
        require("local")

        cls.containers = ContainerManager(migrations=migrate, backend="local")
        cls.containers.start()

    def family(self):
        """A base class with data, two subclasses that have more, and one without."""
        containers = self.containers
        seen = self.seen = []

        class Base(IntegrationTestCase):
            @classmethod
            def setUpTestData(cls):
                cls.add("base")
                cls.redis.set("base", "1")

            @classmethod
            def add(cls, name):
                with cls.db.cursor() as cursor:
                    cursor.execute("INSERT INTO parent (name) VALUES (%s)", (name,))

            def look(self):
                with self.db.cursor() as cursor:
                    cursor.execute("SELECT name FROM parent ORDER BY id")
                    names = [name for (name,) in cursor.fetchall()]
                    cursor.execute("INSERT INTO parent (name) VALUES ('new') RETURNING id")
                    keys = sorted(key.decode() for key in self.redis.scan_iter())
                    seen.append((type(self).__name__, names, cursor.fetchone()[0], keys))
                self.redis.set("new", "1")
                self.redis.delete("base")

            test_1 = test_2 = look

        class Child(Base):
            @classmethod
            def setUpTestData(cls):
                super().setUpTestData()
                cls.add("child")

        class Grandchild(Child):
            @classmethod
            def setUpTestData(cls):
                super().setUpTestData()
                cls.add("grandchild")
                with cls.db.cursor() as cursor:
                    cursor.execute("CREATE TABLE IF NOT EXISTS extra (i int)")

        class Without(Base):
            @classmethod
            def setUpTestData(cls):
                pass

        for case in (Base, Child, Grandchild, Without):
            case.containers = containers
        return Base, Child, Grandchild, Without

    def assert_seen(self, *cases):
        """Run these classes in this order; each test has to see its class's data and nothing else."""
        data = {
            "Base": (["first", "base"], ["base"]),
            "Child": (["first", "base", "child"], ["base"]),
            "Grandchild": (["first", "base", "child", "grandchild"], ["base"]),
            "Without": (["first"], []),
        }
        self.seen.clear()
        for case in cases:
            result = run_case(case)
            self.assertTrue(result.wasSuccessful(), [*result.errors, *result.failures])
            self.assertEqual(result.testsRun, 2)
        expected = []
        for case in cases:
            names, keys = data[case.__name__]
            expected += [(case.__name__, names, len(names) + 1, keys)] * 2
        self.assertEqual(self.seen, expected)

    def test_base_class_and_subclasses_each_have_their_data(self):
        base, child, grandchild, without = self.family()
        self.assert_seen(base, child, grandchild, without)
        self.assert_seen(without, grandchild, child, base, grandchild)
        self.assert_seen(child, child, without, without, base)

    def test_tests_of_two_classes_in_turns(self):
        base, child, *_ = self.family()
        result = unittest.TestResult()
        for _ in range(2):
            base("test_1").run(result)
            child("test_2").run(result)
        self.assertTrue(result.wasSuccessful(), result.errors)
        self.assertEqual([len(names) for _, names, _, _ in self.seen], [2, 3, 2, 3])

    def test_failing_data_of_one_class_leave_the_others_whole(self):
        base, child, grandchild, without = self.family()
        for statement in (
            "SELECT 1 / 0",
            "BEGIN; INSERT INTO parent (name) VALUES ('y'); SELECT 1 / 0",
            "CREATE TABLE t ()",
        ):

            class Broken(base):
                statement_ = statement

                @classmethod
                def setUpTestData(cls):
                    super().setUpTestData()
                    cls.add("broken")
                    cls.redis.set("broken", "1")
                    with cls.db.cursor() as cursor:
                        cursor.execute(cls.statement_)
                    raise RuntimeError("no data")

            for case in (base, child, grandchild, without):
                self.seen.clear()
                self.assert_seen(case)
                self.seen.clear()
                result = run_case(Broken)
                self.assertEqual((result.testsRun, len(result.errors), self.seen), (0, 1, []))
                self.assertRegex(result.errors[0][1], "division by zero|no data")
                self.assert_seen(case)

    def test_interrupted_data_leave_the_others_whole(self):
        base, *_ = self.family()

        class Interrupted(base):
            @classmethod
            def setUpTestData(cls):
                cls.add("interrupted")
                raise KeyboardInterrupt

        self.assert_seen(base)
        with self.assertRaises(KeyboardInterrupt):
            run_case(Interrupted)
        self.assert_seen(base)

    def test_leftover_of_a_test_is_named_in_the_next(self):
        containers = self.containers

        class Leaves(PostgresTestCase):
            def test_1_leaves(self):
                type(self).left = containers.postgres.connect()
                self.left.cursor().execute("SELECT 'left open'")

            def test_2_next(self):
                self.assertRowCount("parent", 1)

        Leaves.containers = containers
        with self.assertWarnsRegex(ResourceWarning, r"Leaves.test_1_leaves: .*SELECT 'left open'"):
            result = run_case(Leaves)
        self.assertTrue(result.wasSuccessful(), result.errors)

    def test_data_of_a_class_are_gone_for_who_uses_the_manager_after_it(self):
        base, *_ = self.family()
        self.assertTrue(run_case(base).wasSuccessful())
        with self.containers.postgres.connection.cursor() as cursor:
            cursor.execute("SELECT name FROM parent")
            self.assertEqual(cursor.fetchall(), [("first",)])
            self.containers.reset_all()
            cursor.execute("SELECT name FROM parent")
            self.assertEqual(cursor.fetchall(), [("first",)])

    def test_tests_taken_one_by_one_load_the_data_of_their_class_once(self):
        containers, loaded = self.containers, []

        class Alone(PostgresTestCase):
            @classmethod
            def setUpTestData(cls):
                loaded.append(cls)

            def test_1(self):
                pass

            def test_2(self):
                pass

        Alone.containers = containers
        for name in ("test_1", "test_2"):
            self.assertTrue(run_case(Alone, name).wasSuccessful())
        self.assertEqual(loaded, [Alone])

    def test_script_goes_back_to_the_migrations(self):
        containers = self.containers
        with containers.postgres.connection.cursor() as cursor:
            cursor.execute("INSERT INTO parent (name) VALUES ('script')")
            containers.snapshot()
            cursor.execute("DELETE FROM parent")
            containers.reset_all()
            cursor.execute("SELECT count(*) FROM parent")
            self.assertEqual(cursor.fetchone()[0], 2)
            containers.restore()
            cursor.execute("SELECT count(*) FROM parent")
            self.assertEqual(cursor.fetchone()[0], 1)


class ManagerSnapshotTests(unittest.TestCase):
    """What a manager's snapshot is to the test classes that come after it, with inner test cases."""

    @classmethod
    def setUpClass(cls):
        require("local")

    def setUp(self):
        self.containers = ContainerManager(migrations=migrate, backend="local")
        self.containers.start()
        self.addCleanup(self.containers.stop)

    def insert(self, name):
        with self.containers.postgres.connection.cursor() as cursor:
            cursor.execute("INSERT INTO parent (name) VALUES (%s)", (name,))

    def take_snapshot(self):
        self.insert("taken")
        client = self.containers.redis.client
        client.set("taken", "1", ex=1000)
        client.config_set("maxmemory-policy", "allkeys-lru")
        self.containers.snapshot()

    def classes(self):
        """One without data, one with, one whose data have DDL, and one whose data fail."""
        outer, seen = self, []

        class Without(IntegrationTestCase):
            containers = self.containers

            def look(self):
                with self.db.cursor() as cursor:
                    cursor.execute("SELECT name FROM parent ORDER BY id")
                    names = [name for (name,) in cursor.fetchall()]
                    cursor.execute("SELECT to_regclass('of_class')")
                    ddl = cursor.fetchone()[0]
                keys = sorted(key.decode() for key in self.redis.scan_iter())
                policy = self.redis.config_get("maxmemory-policy")["maxmemory-policy"]
                seen.append((names, ddl, keys, policy, self.redis.ttl("taken") > 0))
                outer.insert("new")
                self.redis.flushall()
                self.redis.config_set("maxmemory-policy", "noeviction")

            test_1 = test_2 = look

        class With(Without):
            @classmethod
            def setUpTestData(cls):
                outer.insert("class")
                cls.redis.set("class", "1")

        class Ddl(Without):
            @classmethod
            def setUpTestData(cls):
                with cls.db.cursor() as cursor:
                    cursor.execute("CREATE TABLE of_class (i int)")

        class Broken(Without):
            @classmethod
            def setUpTestData(cls):
                outer.insert("broken")
                cls.redis.set("broken", "1")
                raise RuntimeError("no data")

        return seen, Without, With, Ddl, Broken

    BASE = ["first", "taken"], None, ["taken"], "allkeys-lru", True
    MIGRATED = ["first"], None, [], "noeviction", False

    def run_classes(self, *cases):
        for case in cases:
            result = run_case(case)
            self.assertEqual([text for _, text in result.errors if "no data" not in text], [])

    def test_classes_have_it_in_whatever_order_they_come(self):
        seen, without, with_data, ddl, broken = self.classes()
        self.take_snapshot()
        of_class = ["first", "taken", "class"], None, ["class", "taken"], "allkeys-lru", True
        of_ddl = ["first", "taken"], "of_class", ["taken"], "allkeys-lru", True
        self.run_classes(without, with_data, without, broken, without, ddl, without, with_data, ddl, broken, with_data)
        expected = [self.BASE, of_class, self.BASE, self.BASE, of_ddl, self.BASE, of_class, of_ddl, of_class]
        self.assertEqual(seen, [one for one in expected for _ in range(2)])

    def test_one_with_ddl_is_there_too_and_its_template_goes_with_it(self):
        seen, without, with_data, ddl, _ = self.classes()
        with self.containers.postgres.connection.cursor() as cursor:
            cursor.execute("CREATE TABLE of_manager (i int)")
        self.take_snapshot()
        self.run_classes(ddl, without, with_data, without)
        self.assertEqual(
            [names for names, *_ in seen[::2]],
            [["first", "taken"]] * 2 + [["first", "taken", "class"], ["first", "taken"]],
        )
        self.assertEqual([found for _, found, *_ in seen[::2]], ["of_class", None, None, None])
        self.containers.restore()
        with self.containers.postgres.connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('of_manager')")
            self.assertEqual(cursor.fetchone(), (None,))
            pattern = f"ct\\_template\\_{self.containers.postgres.dbname}\\__"
            cursor.execute("SELECT datname FROM pg_database WHERE datname LIKE %s", (pattern,))
            self.assertEqual(cursor.fetchall(), [])

    def test_one_that_a_module_takes_has_nothing_of_the_test_before(self):
        seen, without, *_ = self.classes()
        self.run_classes(without)
        self.containers.stop()
        self.containers.start()
        self.take_snapshot()
        self.run_classes(without)
        self.assertEqual(seen, [self.MIGRATED] * 2 + [self.BASE] * 2)

    def test_one_that_a_class_takes_before_its_own_beginning_has_nothing_of_the_class_before(self):
        seen, without, *_ = self.classes()
        take_snapshot = self.take_snapshot

        class Takes(without):
            @classmethod
            def setUpClass(cls):
                take_snapshot()
                super().setUpClass()

        self.run_classes(without, Takes, without)
        self.assertEqual(seen, [self.MIGRATED] * 2 + [self.BASE] * 4)

    def test_one_that_a_module_takes_has_nothing_of_a_test_that_was_run_without_its_class(self):
        seen, without, with_data, *_ = self.classes()
        result = unittest.TestResult()
        with_data("test_1").run(result)
        self.assertTrue(result.wasSuccessful(), result.errors)
        self.containers.stop()
        self.containers.start()
        self.take_snapshot()
        self.run_classes(without)
        self.assertEqual(seen[1:], [self.BASE] * 2)

    def test_one_that_fails_halfway_is_forgotten(self):
        seen, without, *_ = self.classes()
        broken = mock.patch("containertest.reset.redis.RedisReset.push", side_effect=ResetError("broken"))
        with broken, self.assertRaisesRegex(ResetError, "broken"):
            self.take_snapshot()
        self.run_classes(without)
        self.assertEqual(seen, [self.MIGRATED] * 2)

    def test_manager_that_is_started_in_a_test_leaves_what_is_there(self):
        containers, insert = self.containers, self.insert

        class Starts(IntegrationTestCase):
            def test_1(self):
                insert("before")
                other = ContainerManager(migrations=migrate, backend="local").start()
                self.assertEqual(other.postgres.dbname, containers.postgres.dbname)
                self.assertRowExists("parent", name="before")

            test_2 = test_1

        Starts.containers = containers
        self.run_classes(Starts)

    def test_stop_forgets_it_after_classes_with_data_and_without(self):
        seen, without, with_data, *_ = self.classes()
        for case in (without, with_data):
            with self.subTest(case):
                self.take_snapshot()
                self.run_classes(case)
                seen.clear()
                self.containers.stop()
                self.containers.start()
                self.run_classes(without)
                self.assertEqual(seen, [self.MIGRATED] * 2)
                self.containers.stop()
                self.containers.start()

    def test_class_whose_tests_are_taken_one_by_one_does_not_keep_it_beyond_its_manager(self):
        seen, _, with_data, *_ = self.classes()
        self.take_snapshot()
        for _ in range(2):
            self.assertTrue(run_case(with_data, "test_1").wasSuccessful())
            self.containers.stop()
            self.containers.start()
        self.assertEqual([names for names, *_ in seen], [["first", "taken", "class"], ["first", "class"]])

    def test_one_that_a_class_takes_with_its_data_goes_with_them(self):
        seen, without, with_data, *_ = self.classes()
        containers, insert = self.containers, self.insert

        class Takes(with_data):
            @classmethod
            def setUpTestData(cls):
                super().setUpTestData()
                containers.snapshot()

        class TakesLater(with_data):
            @classmethod
            def setUpClass(cls):
                super().setUpClass()
                insert("later")
                containers.snapshot()

        self.run_classes(Takes, without, TakesLater, without)
        self.assertEqual(
            [names for names, *_ in seen[::2]],
            [["first", "class"], ["first"], ["first", "class", "later"], ["first"]],
        )
        self.assertEqual(seen[2::4], [self.MIGRATED] * 2)

    def test_interrupted_one_has_no_keys(self):
        seen, without, *_ = self.classes()
        self.containers.redis.client.set("half", "1")
        broken = mock.patch("containertest.reset.redis.read_settings", side_effect=KeyboardInterrupt)
        with broken, self.assertRaises(KeyboardInterrupt):
            self.containers.snapshot()
        self.run_classes(without)
        self.assertEqual(seen, [self.MIGRATED] * 2)

    def test_restore_forgets_it(self):
        seen, without, with_data, *_ = self.classes()
        self.take_snapshot()
        self.run_classes(with_data)
        self.containers.restore()
        seen.clear()
        self.run_classes(without)
        self.assertEqual(seen, [self.MIGRATED] * 2)

    def test_second_one_goes_on_from_the_first(self):
        seen, without, with_data, *_ = self.classes()
        self.take_snapshot()
        self.run_classes(with_data)
        self.insert("second")
        self.containers.snapshot()
        seen.clear()
        self.run_classes(with_data, without)
        self.assertEqual(
            [names for names, *_ in seen[::2]], [["first", "taken", "second", "class"], ["first", "taken", "second"]]
        )

    def test_death_of_the_server_is_said_to_have_taken_it_along(self):
        seen, without, with_data, *_ = self.classes()
        self.take_snapshot()
        self.run_classes(with_data)
        server = self.containers.postgres.lease.server
        server.stop()
        seen.clear()
        with self.assertLogs("containertest", "WARNING") as logs:
            self.run_classes(without)
        self.assertIn("snapshot()", "\n".join(logs.output))
        self.assertEqual(seen, [self.MIGRATED] * 2)


class LargeSnapshotTests(ResetCase):
    """What is more than a snapshot copies."""

    def test_rows_beyond_the_limit_make_a_template(self):
        with mock.patch.object(pg_prepare, "MOST_ROWS", 3):
            self.execute("INSERT INTO parent (name) SELECT i::text FROM generate_series(1, 5) i")
            self.snapshot()
            snapshot = Baseline(self.database)
            self.execute("DELETE FROM parent WHERE id > 3; INSERT INTO child (parent) VALUES (1)")
            self.resetter.reset()
            self.assertEqual(snapshot.difference(), "")


class HardRowsTests(ResetCase):
    """Rows that can't be inserted as they are: a snapshot of them comes back all the same."""

    schema = """
        CREATE TABLE older (id int); INSERT INTO older VALUES (-1);
        ALTER TABLE older ADD CHECK (id > 0) NOT VALID;
        CREATE TABLE hook (call regproc); INSERT INTO hook VALUES ('lower(text)'::regprocedure::oid);
    """

    def test_snapshot_comes_back_after_a_clone(self):
        for statement in ("INSERT INTO older VALUES (5)", "INSERT INTO hook VALUES ('version')"):
            with self.subTest(statement):
                self.execute(statement)
                self.assert_snapshot_comes_back("CREATE TABLE t (i int); DELETE FROM older; DELETE FROM hook")


if __name__ == "__main__":
    unittest.main()
