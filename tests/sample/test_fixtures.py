"""Fixtures: users from ../testdata/fixtures.sql, loaded once for each class."""

from __future__ import annotations

from datetime import datetime, timezone

from containertest import IntegrationTestCase, PostgresTestCase
from containertest.sample.cache import RedisCache
from containertest.sample.dao import UserDAO
from containertest.sample.database import Database
from containertest.sample.service import UserService
from tests.sample.support import containers, pool_of

setUpModule, tearDownModule = containers.start, containers.stop

FIXTURES = "../testdata/fixtures.sql"


class FixtureTests(PostgresTestCase):
    containers = containers
    fixtures = [FIXTURES]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.users = UserDAO(pool_of(cls))

    def test_all_four_users_are_there(self) -> None:
        emails = [user.email for user in self.users.list()]
        self.assertEqual(emails, ["admin@example.com", "ada@example.com", "bob@example.com", "inactive@example.com"])

    def test_admin_is_the_first_user(self) -> None:
        self.assertEqual(self.users.get_by_email("admin@example.com").id, 1)

    def test_two_regular_users_are_there(self) -> None:
        self.assertRowExists("users", email="ada@example.com", name="Ada Lovelace")
        self.assertRowExists("users", email="bob@example.com", name="Bob O'Brien")

    def test_only_the_inactive_user_has_not_changed_since_2020(self) -> None:
        self.assertRowCount("users", 1, "updated_at < %s", ("2020-01-01",))
        self.assertLess(self.users.get_by_email("inactive@example.com").updated_at.year, 2020)

    def test_dates_are_those_of_the_file(self) -> None:
        ada = self.users.get_by_email("ada@example.com")
        self.assertEqual(ada.created_at, datetime(2024, 1, 2, 9, 30, tzinfo=timezone.utc))
        self.assertEqual(ada.updated_at, datetime(2024, 3, 4, 12, tzinfo=timezone.utc))

    def test_next_user_gets_the_next_id(self) -> None:
        self.assertEqual(self.users.create("new@example.com", "New").id, 5)

    def test_deleted_fixture_is_back_in_the_next_test_part_1(self) -> None:
        self.delete_everyone()

    def test_deleted_fixture_is_back_in_the_next_test_part_2(self) -> None:
        self.delete_everyone()

    def delete_everyone(self) -> None:
        """Both parts find four users, whichever of them runs first."""
        self.assertRowCount("users", 4)
        for user in self.users.list():
            self.users.delete(user.id)
        self.assertRowCount("users", 0)


class FixturesWithTestDataTests(IntegrationTestCase):
    """Data that need code are added in ``setUpTestData``, after the fixtures, and are also there in each test."""

    containers = containers
    fixtures = [FIXTURES]

    @classmethod
    def setUpTestData(cls) -> None:
        cls.redis.set("maintenance", "off")
        with cls.db.cursor() as cursor:
            cursor.execute("INSERT INTO users (email, name) VALUES ('guest@example.com', 'Guest')")

    def test_row_of_set_up_test_data_comes_after_the_fixtures(self) -> None:
        self.assertRowCount("users", 5)
        self.assertRowExists("users", id=5, email="guest@example.com")

    def test_key_of_set_up_test_data_is_back_after_a_change_part_1(self) -> None:
        self.change_the_key()

    def test_key_of_set_up_test_data_is_back_after_a_change_part_2(self) -> None:
        self.change_the_key()

    def change_the_key(self) -> None:
        self.assertEqual(self.redis.get("maintenance"), b"off")
        self.redis.set("maintenance", "on")

    def test_fixture_user_goes_through_the_cache(self) -> None:
        database = Database(containers.postgres.url)
        self.addCleanup(database.close)
        users = UserService(UserDAO(database), RedisCache(self.redis))
        self.assertEqual(users.get(1).email, "admin@example.com")
        with self.assertNumQueries(0):
            self.assertEqual(users.get(1).name, "Admin")


class LoadedInATestTests(PostgresTestCase):
    """A single test can load a file, too."""

    containers = containers

    def test_loaded_file_is_there_for_this_test(self) -> None:
        self.assertRowCount("users", 0)
        self.load_fixtures(FIXTURES)
        self.assertRowCount("users", 4)

    def test_loaded_file_is_gone_after_a_reset(self) -> None:
        self.load_fixtures(FIXTURES)
        self.reset_database()
        self.assertRowCount("users", 0)

    def test_class_without_fixtures_starts_without_them(self) -> None:
        self.assertRowCount("users", 0)
