"""PostgreSQL: the SQL of the sample application, and its connections."""

from __future__ import annotations

import socket
import threading
import unittest
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

import psycopg2

from containertest import PostgresTestCase
from containertest.sample.dao import DuplicateEmail, UserDAO, UserNotFound
from containertest.sample.database import MIGRATION_LOCK, Database, DatabaseSettings, DatabaseUnavailable
from tests.sample.support import containers, pool_of, wait_until

setUpModule, tearDownModule = containers.start, containers.stop

WAITING = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"


class DatabaseTestCase(PostgresTestCase):
    """Gives each class a pool on the tests' database."""

    containers = containers
    database: Database

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.database = pool_of(cls)

    def setUp(self) -> None:
        self.users = UserDAO(self.database)

    def open_database(self, **settings: float) -> Database:
        database = Database(DatabaseSettings(containers.postgres.url, **settings))
        self.addCleanup(database.close)
        return database

    def execute(self, sql: str, *params: object) -> int:
        """Run one statement on the shared connection; return the number of rows it touched."""
        with self.db.cursor() as cursor:
            cursor.execute(sql, params)
            return cursor.rowcount


class UserCreationTests(DatabaseTestCase):
    def test_created_user_has_a_positive_id(self) -> None:
        self.assertGreater(self.users.create("ada@example.com", "Ada").id, 0)

    def test_created_user_has_created_at_set_to_now(self) -> None:
        before = datetime.now(timezone.utc)
        user = self.users.create("ada@example.com", "Ada")
        self.assertLess(abs((user.created_at - before).total_seconds()), 300)
        self.assertEqual(user.updated_at, user.created_at)

    def test_created_user_is_stored_once(self) -> None:
        self.users.create("ada@example.com", "Ada")
        self.assertRowCount("users", 1)
        self.assertRowExists("users", email="ada@example.com", name="Ada")

    def test_ids_start_at_one_in_every_test(self) -> None:
        self.assertEqual([self.users.create(f"{n}@example.com", "N").id for n in range(3)], [1, 2, 3])

    def test_second_user_with_the_same_email_is_refused(self) -> None:
        self.users.create("ada@example.com", "Ada")
        with self.assertRaisesRegex(DuplicateEmail, r"ada@example\.com is taken"):
            self.users.create("ada@example.com", "Another Ada")
        self.assertRowCount("users", 1)

    def test_unique_violation_comes_from_the_database_itself(self) -> None:
        self.users.create("ada@example.com", "Ada")
        with self.assertRaises(psycopg2.errors.UniqueViolation) as caught:
            self.execute("INSERT INTO users (email, name) VALUES ('ada@example.com', 'Another Ada')")
        self.assertEqual(caught.exception.diag.constraint_name, "users_email_key")

    def test_user_without_a_name_is_refused_by_the_schema(self) -> None:
        with self.assertRaises(psycopg2.errors.NotNullViolation):
            self.execute("INSERT INTO users (email) VALUES ('ada@example.com')")

    def test_name_longer_than_its_column_is_refused_by_the_schema(self) -> None:
        with self.assertRaises(psycopg2.errors.StringDataRightTruncation):
            self.users.create("ada@example.com", "A" * 256)
        self.assertRowCount("users", 0)

    def test_any_script_and_quote_is_stored_as_it_is(self) -> None:
        name = "Zoë O'Brien; DROP TABLE users; -- 松本 😀 %s"
        self.assertEqual(self.users.create("zoe@example.com", name).name, name)
        self.assertRowExists("users", name=name)


class UserRetrievalTests(DatabaseTestCase):
    def test_user_is_found_by_id(self) -> None:
        user = self.users.create("ada@example.com", "Ada")
        self.assertEqual(self.users.get_by_id(user.id), user)

    def test_user_is_found_by_email(self) -> None:
        self.users.create("bob@example.com", "Bob")
        user = self.users.create("ada@example.com", "Ada")
        self.assertEqual(self.users.get_by_email("ada@example.com"), user)

    def test_unknown_id_is_not_found(self) -> None:
        with self.assertRaisesRegex(UserNotFound, "no user with id 404"):
            self.users.get_by_id(404)

    def test_id_beyond_the_column_is_not_found(self) -> None:
        with self.assertRaises(UserNotFound):
            self.users.get_by_id(2**70)

    def test_unknown_email_is_not_found(self) -> None:
        with self.assertRaises(UserNotFound):
            self.users.get_by_email("nobody@example.com")

    def test_reading_a_user_is_one_query(self) -> None:
        user = self.users.create("ada@example.com", "Ada")
        with self.assertNumQueries(1):
            self.users.get_by_id(user.id)


class UserUpdateTests(DatabaseTestCase):
    def test_update_affects_one_row(self) -> None:
        ada = self.users.create("ada@example.com", "Ada")
        self.users.create("bob@example.com", "Bob")
        self.assertEqual(self.execute("UPDATE users SET name = 'A' WHERE id = %s", ada.id), 1)

    def test_update_is_persisted_and_leaves_other_users_alone(self) -> None:
        ada = self.users.create("ada@example.com", "Ada")
        bob = self.users.create("bob@example.com", "Bob")
        self.users.update(ada.id, "countess@example.com", "Ada Lovelace")
        self.assertRowExists("users", id=ada.id, email="countess@example.com", name="Ada Lovelace")
        self.assertEqual(self.users.get_by_id(bob.id), bob)

    def test_update_moves_updated_at_but_not_created_at(self) -> None:
        user = self.users.create("ada@example.com", "Ada")
        updated = self.users.update(user.id, "ada@example.com", "Ada Lovelace")
        self.assertGreater(updated.updated_at, user.updated_at)
        self.assertEqual(updated.created_at, user.created_at)

    def test_update_of_an_unknown_user_is_refused(self) -> None:
        with self.assertRaises(UserNotFound):
            self.users.update(404, "ada@example.com", "Ada")

    def test_update_to_a_taken_email_is_refused_and_changes_nothing(self) -> None:
        self.users.create("ada@example.com", "Ada")
        bob = self.users.create("bob@example.com", "Bob")
        with self.assertRaises(DuplicateEmail):
            self.users.update(bob.id, "ada@example.com", "Bob")
        self.assertEqual(self.users.get_by_id(bob.id), bob)


class UserDeletionTests(DatabaseTestCase):
    def test_delete_affects_one_row(self) -> None:
        ada = self.users.create("ada@example.com", "Ada")
        self.users.create("bob@example.com", "Bob")
        self.assertEqual(self.execute("DELETE FROM users WHERE id = %s", ada.id), 1)

    def test_deleted_user_is_gone(self) -> None:
        ada = self.users.create("ada@example.com", "Ada")
        self.users.create("bob@example.com", "Bob")
        self.users.delete(ada.id)
        self.assertNoRow("users", id=ada.id)
        self.assertRowCount("users", 1)
        with self.assertRaises(UserNotFound):
            self.users.get_by_id(ada.id)

    def test_deleting_twice_is_refused(self) -> None:
        ada = self.users.create("ada@example.com", "Ada")
        self.users.delete(ada.id)
        with self.assertRaises(UserNotFound):
            self.users.delete(ada.id)

    def test_email_of_a_deleted_user_is_free_again_but_its_id_is_not(self) -> None:
        ada = self.users.create("ada@example.com", "Ada")
        self.users.delete(ada.id)
        self.assertGreater(self.users.create("ada@example.com", "Ada").id, ada.id)


class PaginationTests(DatabaseTestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        """Runs once; every test of the class starts with these ten users."""
        with cls.db.cursor() as cursor:
            cursor.execute(
                "INSERT INTO users (email, name) SELECT n || '@example.com', n FROM generate_series(1, 10) n"
            )

    def ids(self, limit: int, offset: int) -> list[int]:
        return [user.id for user in self.users.list(limit, offset)]

    def test_limit_5_offset_3_of_10_users_gives_ids_4_to_8(self) -> None:
        self.assertEqual(self.ids(limit=5, offset=3), [4, 5, 6, 7, 8])

    def test_last_page_is_shorter(self) -> None:
        self.assertEqual(self.ids(limit=5, offset=8), [9, 10])

    def test_page_after_the_last_is_empty(self) -> None:
        self.assertEqual(self.ids(limit=5, offset=10), [])

    def test_order_is_that_of_the_ids_after_an_update(self) -> None:
        self.users.update(1, "first@example.com", "First")
        self.assertEqual(self.ids(limit=3, offset=0), [1, 2, 3])

    def test_deleted_user_leaves_no_hole_in_a_page(self) -> None:
        self.users.delete(5)
        self.assertEqual(self.ids(limit=5, offset=3), [4, 6, 7, 8, 9])


class TransactionTests(DatabaseTestCase):
    def test_rolled_back_insert_leaves_no_row(self) -> None:
        with self.assertRaises(ZeroDivisionError), self.database.transaction() as connection:
            connection.cursor().execute("INSERT INTO users (email, name) VALUES ('ada@example.com', 'Ada')")
            raise ZeroDivisionError
        self.assertRowCount("users", 0)

    def test_uncommitted_insert_is_seen_by_its_own_connection_only(self) -> None:
        with self.database.transaction() as connection, connection.cursor() as cursor:
            cursor.execute("INSERT INTO users (email, name) VALUES ('ada@example.com', 'Ada')")
            cursor.execute("SELECT count(*) FROM users")
            self.assertEqual(cursor.fetchone(), (1,))
            self.assertRowCount("users", 0)
        self.assertRowCount("users", 1)

    def test_connection_is_usable_again_after_a_failed_transaction(self) -> None:
        database = self.open_database(pool_size=1)
        with self.assertRaises(psycopg2.errors.UndefinedTable), database.transaction() as connection:
            connection.cursor().execute("SELECT * FROM nowhere")
        UserDAO(database).create("ada@example.com", "Ada")
        self.assertRowCount("users", 1)

    def test_rollback_to_a_savepoint_keeps_what_was_before(self) -> None:
        connection = self.connect()
        with connection, connection.cursor() as cursor:
            cursor.execute("INSERT INTO users (email, name) VALUES ('ada@example.com', 'Ada')")
            cursor.execute("SAVEPOINT second")
            cursor.execute("INSERT INTO users (email, name) VALUES ('bob@example.com', 'Bob')")
            cursor.execute("ROLLBACK TO SAVEPOINT second")
        self.assertRowExists("users", name="Ada")
        self.assertNoRow("users", name="Bob")


class PoolTests(DatabaseTestCase):
    def test_connections_are_used_again(self) -> None:
        pids = set()
        for _ in range(5):
            with self.database.transaction() as connection:
                pids.add(connection.info.backend_pid)
        self.assertEqual(len(pids), 1)

    def test_transaction_waits_for_a_connection_instead_of_failing(self) -> None:
        database = self.open_database(pool_size=1, timeout=60)
        waiter = threading.Thread(target=UserDAO(database).create, args=("ada@example.com", "Ada"))
        with database.transaction():
            waiter.start()
            self.assertRowCount("users", 0)
        waiter.join()
        self.assertRowCount("users", 1)

    def test_waiting_ends_at_the_timeout(self) -> None:
        database = self.open_database(pool_size=1, timeout=0.05)
        with database.transaction(), self.assertRaisesRegex(DatabaseUnavailable, r"no free connection after 0\.05 s"):
            with database.transaction():
                self.fail("two transactions on one connection")

    def test_broken_connection_is_replaced(self) -> None:
        with self.database.transaction() as connection:
            pid = connection.info.backend_pid
        self.execute("SELECT pg_terminate_backend(%s)", pid)
        wait_until(lambda: self.execute("SELECT FROM pg_stat_activity WHERE pid = %s", pid) == 0)
        with self.assertRaises(DatabaseUnavailable):
            self.users.list()
        self.assertEqual(self.users.list(), [])


class PingTests(DatabaseTestCase):
    def test_ping_of_a_running_server_succeeds(self) -> None:
        self.database.ping()

    def test_ping_of_a_closed_port_fails(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"postgresql://127.0.0.1:{unused.getsockname()[1]}/testdb"
            with self.assertRaisesRegex(DatabaseUnavailable, "refused"):
                Database(url).ping()

    def test_ping_gives_up_on_a_server_that_never_answers(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"postgresql://127.0.0.1:{silent.getsockname()[1]}/testdb"
            with self.assertRaisesRegex(DatabaseUnavailable, "in time"):
                Database(url).ping(timeout=0.05)


class MigrationTests(DatabaseTestCase):
    """With a pool of its own for each test: what drops tables ends in a new database, without old connections."""

    def setUp(self) -> None:
        self.database = self.open_database()
        self.users = UserDAO(self.database)

    def test_schema_has_the_columns_of_the_model(self) -> None:
        with self.db.cursor() as cursor:
            cursor.execute("SELECT * FROM users")
            columns = [column.name for column in cursor.description]
        self.assertEqual(columns, ["id", "email", "name", "created_at", "updated_at"])

    def test_migrating_again_keeps_the_users(self) -> None:
        self.users.create("ada@example.com", "Ada")
        self.database.migrate()
        self.assertRowCount("users", 1)

    def test_migrating_makes_the_table_and_its_index(self) -> None:
        self.execute("DROP TABLE users")
        self.database.migrate()
        self.assertRowCount("users", 0)
        self.assertRowExists("pg_indexes", tablename="users", indexname="idx_users_email")

    def test_migration_waits_for_the_one_of_another_process(self) -> None:
        with ThreadPoolExecutor(1) as other:
            with self.connect() as running, running.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
                migration = other.submit(self.database.migrate)
                wait_until(lambda: self.execute(WAITING) == 1)
            migration.result()


class SettingsTests(unittest.TestCase):
    def test_settings_come_from_the_environment(self) -> None:
        environ = {"DATABASE_URL": "postgresql://h/d", "DATABASE_POOL_SIZE": "3", "DATABASE_TIMEOUT": "0.5"}
        self.assertEqual(DatabaseSettings.from_environ(environ), DatabaseSettings("postgresql://h/d", 3, 0.5))

    def test_missing_url_says_what_is_expected(self) -> None:
        with self.assertRaisesRegex(ValueError, "DATABASE_URL is not set"):
            DatabaseSettings.from_environ({})

    def test_pool_size_that_is_no_number_is_refused(self) -> None:
        with self.assertRaisesRegex(ValueError, "DATABASE_POOL_SIZE"):
            DatabaseSettings.from_environ({"DATABASE_URL": "postgresql://h/d", "DATABASE_POOL_SIZE": "many"})

    def test_password_is_not_in_the_repr(self) -> None:
        self.assertNotIn("s3cret", repr(DatabaseSettings("postgresql://u:s3cret@h/d")))
