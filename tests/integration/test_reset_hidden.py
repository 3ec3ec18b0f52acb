"""What the reset needs inside a database stays out of the way of its users and their tools."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import alembic.autogenerate
import sqlalchemy
from alembic.migration import MigrationContext

from tests.integration.reset_case import SCHEMA, ResetCase
from tests.integration.reset_dump import can_dump, dump
from tests.integration.reset_server import TestDatabase, server
from tests.support import TOP

VIEWS = """
    SELECT table_name FROM information_schema.views WHERE table_schema = 'information_schema' ORDER BY 1
"""


class HiddenTests(ResetCase):
    schema = SCHEMA

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.plain = TestDatabase(server(), cls.schema, prepare=False)
        cls.addClassCleanup(cls.plain.drop)
        cls.plain.clone()

    def test_pg_dump_of_the_schema_shows_nothing(self):
        if can_dump(self.database):
            options = ("--schema=public", "--schema=shop")
            self.assertEqual(dump(self.database, None, *options), dump(self.plain, None, *options))

    def test_pg_dump_without_our_schema_shows_two_event_triggers(self):
        if can_dump(self.database):
            options = ("--exclude-schema=containertest",)
            before = dump(self.plain, None, *options).splitlines()
            added = [line for line in dump(self.database, None, *options).splitlines() if line not in before]
            self.assertEqual(len([line for line in added if line.startswith("CREATE EVENT TRIGGER")]), 2)
            for line in added:
                self.assertRegex(line, "containertest_(ddl|drop)|containertest.mark_ddl")

    def test_information_schema_of_public_shows_nothing(self):
        name = self.database.name
        for (view,) in self.execute(VIEWS):
            query = (
                f"SELECT line FROM (SELECT to_jsonb(v)::text AS line FROM information_schema.{view} v) lines"
                """ WHERE line LIKE '%"public"%'"""
            )
            ours, theirs = (
                sorted(row.replace(name, self.plain.name) for (row,) in database.execute(query))
                for database in (self.database, self.plain)
            )
            self.assertEqual([row for row in ours if "containertest" in row], [], view)
            self.assertEqual(len(ours), len(theirs), view)

    def test_information_schema_names_no_trigger_of_ours(self):
        for view in ("triggers", "triggered_update_columns", "role_usage_grants", "check_constraints"):
            query = f"SELECT count(*) FROM information_schema.{view} v WHERE v::text LIKE '%containertest\\_mark%'"
            self.assertEqual(self.value(query), 0, view)

    def test_search_path_does_not_find_our_tables(self):
        self.assertEqual(self.execute("SELECT to_regclass('marks'), to_regclass('tracked')"), [(None, None)])
        self.assertEqual(
            self.value("SELECT count(*) FROM pg_class WHERE relname = 'marks' AND pg_table_is_visible(oid)"), 0
        )

    def test_users_own_function_names_are_free(self):
        self.execute("CREATE FUNCTION mark() RETURNS int LANGUAGE sql AS 'SELECT 1'; SELECT mark()")
        self.execute("CREATE SCHEMA s CREATE TABLE marks (i int); CREATE TABLE tracked (i int)")

    def test_alembic_finds_no_difference(self):
        metadata = sqlalchemy.MetaData()
        metadata.reflect(self.engine(self.plain))
        found = self.alembic(self.database, metadata, compare_type=True)
        self.assertEqual(found, [])

    def engine(self, database):
        engine = sqlalchemy.create_engine("postgresql+psycopg2://", creator=database.connect)
        self.addCleanup(engine.dispose)
        return engine

    def alembic(self, database, metadata, **options):
        """The differences that Alembic finds between a database and a metadata."""
        with self.engine(database).connect() as connection, warnings.catch_warnings():
            warnings.simplefilter("ignore", sqlalchemy.exc.SAWarning)  # egg and hen are a circle
            context = MigrationContext.configure(connection, opts=options)
            return alembic.autogenerate.compare_metadata(context, metadata)

    def test_alembic_with_all_schemas_is_told_to_leave_ours_out_by_a_line(self):
        """The README's ``include_name``."""

        def include_name(name, kind, parents):
            return not (kind == "schema" and name == "containertest")

        for options in ({}, {"include_name": include_name}):
            found = self.alembic(self.database, sqlalchemy.MetaData(), include_schemas=True, **options)
            ours = [item for item in found if "containertest" in repr(item)]
            self.assertNotEqual(found, ours)
            self.assertEqual(bool(ours), not options)

    def test_sqlalchemy_reflects_the_same_tables(self):
        names = []
        for database in (self.database, self.plain):
            inspector = sqlalchemy.inspect(self.engine(database))
            found = (inspector.get_table_names(), inspector.get_view_names(), inspector.get_sequence_names())
            names.append([sorted(items) for items in found])
        self.assertEqual(*names)


SETTINGS = """
    import os
    SECRET_KEY = "x"
    USE_TZ = True
    INSTALLED_APPS = ["shop"]
    DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
    DATABASES = {"default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ["PGDATABASE"], "HOST": os.environ["PGHOST"], "PORT": os.environ["PGPORT"],
        "USER": os.environ["PGUSER"], "PASSWORD": os.environ["PGPASSWORD"],
    }}
"""

MODELS = """
    from django.db import models

    class Author(models.Model):
        email = models.TextField(unique=True)

    class Book(models.Model):
        author = models.ForeignKey(Author, on_delete=models.CASCADE)
        title = models.CharField(max_length=100)
"""


class DjangoTests(ResetCase):
    """A Django project with its migrations in a database of ours."""

    schema = ""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)
        (cls.folder / "shop").mkdir()
        for path, text in (("settings.py", SETTINGS), ("shop/__init__.py", ""), ("shop/models.py", MODELS)):
            (cls.folder / path).write_text("\n".join(line[4:] for line in text.splitlines()))
        super().setUpClass()

    def django(self, *arguments, template=False):
        name = self.database.template if template else self.database.name
        done = subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            cwd=self.folder,
            env={
                **os.environ,
                **self.database.server.environment,
                **{"PGDATABASE": name, "DJANGO_SETTINGS_MODULE": "settings", "PYTHONPATH": f"{TOP}:{self.folder}"},
            },
            capture_output=True,
            text=True,
            timeout=120,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    #: The oldest server that Django 5.2 speaks to.
    MINIMUM = 140000

    def test_migrations_fit_and_inspectdb_shows_no_table_of_ours(self):
        if self.database.connection.server_version < self.MINIMUM:
            return
        self.database.close()
        self.django("makemigrations", "shop")
        self.django("migrate", template=True)
        with self.database.admin() as cursor:
            cursor.execute(f"DROP DATABASE {self.database.name} WITH (FORCE)")
        self.database.prepare()
        self.database.reset()
        self.assertIn("No changes detected", self.django("makemigrations", "--check"))
        self.assertIn("No planned migration operations", self.django("migrate", "--plan"))
        text = self.django("inspectdb")
        self.assertIn("class ShopBook", text)
        for name in ("containertest", "marks", "tracked", "_lines"):
            self.assertNotIn(name, text.lower())
        self.assertIn("No changes detected", self.django("makemigrations", "--check"))


if __name__ == "__main__":
    import unittest

    unittest.main()
