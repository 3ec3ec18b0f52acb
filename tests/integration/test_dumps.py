"""What pg_dump writes, and files as other tools have them, as migrations; with the real pg_dump."""

from __future__ import annotations

import subprocess
import unittest
from pathlib import Path
from typing import Any

from containertest import ContainerManager
from containertest.errors import MigrationError
from containertest.migrations import Migrations
from tests.integration.reset_server import binaries
from tests.integration.test_fixtures import DatabaseCase

SCHEMA = """
CREATE SCHEMA shop;
CREATE TABLE shop.item (id serial PRIMARY KEY, name text, tags text[]);
INSERT INTO shop.item (name, tags) VALUES ('tab\there', '{a,"b c"}'), (E'line\nbreak', NULL), ('ü', '{}');
CREATE VIEW shop.names AS SELECT name FROM shop.item;
CREATE FUNCTION shop.f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$;
SELECT lo_from_bytea(54711, 'large');
"""


class DumpTests(DatabaseCase):
    """A database is dumped and loaded again."""

    def dump(self, *options: str) -> Path:
        self.cursor.execute(SCHEMA)
        target = self.folder / "dump.sql"
        info: Any = self.connection.info
        command = [str(Path(binaries()) / "pg_dump"), "-h", info.host, "-p", str(info.port), "-U", info.user, *options]
        with target.open("wb") as out:
            subprocess.run([*command, info.dbname], env={"PGPASSWORD": info.password}, stdout=out, check=True)
        self.cursor.execute("DROP SCHEMA shop CASCADE; SELECT lo_unlink(54711)")
        return target

    def load(self, path: Path) -> None:
        Migrations(str(path)).run(self.connection, "postgresql://here/db")

    def test_plain_dumps_load(self) -> None:
        for options in (
            ["--schema=shop"],
            ["--schema=shop", "--inserts"],
            ["--schema=shop", "--column-inserts", "--no-owner", "--no-acl"],
            ["--schema=shop", "--clean", "--if-exists"],
            ["--schema=shop", "--encoding=LATIN1"],
            ["--schema=shop", "--quote-all-identifiers", "--disable-dollar-quoting"],
        ):
            with self.subTest(options):
                self.load(self.dump(*options))
                self.cursor.execute("SELECT name, tags FROM shop.item ORDER BY id")
                rows = [("tab\there", ["a", "b c"]), ("line\nbreak", None), ("ü", [])]
                self.assertEqual(self.cursor.fetchall(), rows)
                self.cursor.execute("DROP SCHEMA shop CASCADE")

    def test_dump_in_another_format_says_what_to_do(self) -> None:
        for form in ("custom", "tar"):
            with self.subTest(form), self.assertRaisesRegex(MigrationError, "pg_restore -f schema.sql"):
                self.load(self.dump("--schema=shop", f"--format={form}"))

    def test_dump_of_the_schema_public_names_the_remedy(self) -> None:
        with self.assertRaisesRegex(MigrationError, 'schema "public" already exists(.|\n)*-n public'):
            self.load(self.dump("--schema=public"))

    def test_roles_that_are_not_there_name_the_remedy(self) -> None:
        for statement in (
            "ALTER TABLE t OWNER TO dave;",
            "GRANT SELECT ON t TO dave;",
            "REVOKE ALL ON t FROM dave;",
            "ALTER DEFAULT PRIVILEGES FOR ROLE dave GRANT SELECT ON TABLES TO PUBLIC;",
            "CREATE POLICY p ON t TO dave;",
            "SET ROLE dave;",
        ):
            path = self.folder / "roles.sql"
            path.write_text(statement)
            with self.subTest(statement), self.assertRaises(MigrationError) as caught:
                self.load(path)
            self.assertRegex(str(caught.exception), r'--no-owner --no-acl(.|\n)*username="dave"')


class ToolTests(unittest.TestCase):
    """Folders as migration tools make them, through the manager."""

    def test_schema_has_what_the_ways_up_make_and_no_more(self) -> None:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            files = {
                "1_users.sql": "-- migrate:up\nCREATE TABLE users (id int);\n-- migrate:down\nDROP TABLE users;\n",
                "2_items.sql": "-- +goose Up\nCREATE TABLE items (id int);\n-- +goose Down\nDROP TABLE items;\n",
                "10_more.up.sql": "\\set size 7\nCREATE TABLE more AS SELECT generate_series(1, :size) AS i;\n",
                "10_more.down.sql": "DROP TABLE more;\n",
                "11_latin.sql": "SET client_encoding = 'LATIN1';\nCREATE TABLE latin AS SELECT 'ü'::text AS name;\n",
            }
            for name, text in files.items():
                Path(folder, name).write_text(text, encoding="latin-1" if "latin" in name else "utf-8")
            with ContainerManager(redis=None, migrations=folder) as manager:
                cursor = manager.postgres.connection.cursor()
                cursor.execute("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1")
                self.assertEqual([name for (name,) in cursor.fetchall()], ["items", "latin", "more", "users"])
                cursor.execute("SELECT count(*), (SELECT name FROM latin) FROM more")
                self.assertEqual(cursor.fetchone(), (7, "ü"))


if __name__ == "__main__":
    unittest.main()
