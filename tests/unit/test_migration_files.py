"""Which files of a folder of migrations run, in which order, and what is refused; no server."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import socket
import tarfile
import zipfile
from pathlib import Path

from containertest.errors import ConfigError, MigrationError
from containertest.migrations import Migrations
from containertest.sql.reading import read_script
from tests.unit.test_migrations import FolderCase


class FilesCase(FolderCase):
    def made(self, *names: str) -> Path:
        """A folder with these files."""
        folder = self.folder / f"folder{len(list(self.folder.iterdir()))}"
        folder.mkdir()
        for name in names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("SELECT 1;")
        return folder

    def ran(self, *names: str) -> list[str]:
        """The names of what runs, as the digest, which has the order, shows it."""
        folder = self.made(*names)
        return [path.name for path in Migrations(str(folder))._steps if isinstance(path, Path)]

    def refused(self, *names: str) -> str:
        with self.assertRaises(ConfigError) as caught:
            self.migrations(str(self.made(*names)))
        return str(caught.exception)


class ChoiceTests(FilesCase):
    def test_sql_plain_and_packed_runs_whatever_its_capitals(self) -> None:
        names = ["1.sql", "2_b.SQL", "3.sql.gz", "4.Sql.XZ", "5.psql", "6.pgsql"]
        self.assertEqual(self.ran(*names), names)

    def test_what_is_no_migration_is_left_out(self) -> None:
        beside = [
            "README.md",
            "LICENSE",
            ".gitkeep",
            "__init__.py",
            "1.sql~",
            "notes.txt",
            "Makefile",
            "data.csv",
            "atlas.sum",
        ]
        self.assertEqual(self.ran("1.sql", *beside, "__pycache__/x.pyc", ".hidden/2.sql", "docs/index.md"), ["1.sql"])

    def test_what_looks_like_one_is_refused_by_name(self) -> None:
        for name in (
            *(
                "002_data.py",
                "seed.py",
                "2.sh",
                "run.sh",
                "2.sql.bz2",
                "2.dump",
                "2.sql.txt",
                "2.sql.bak",
                "V2__x.java",
            ),
            *("002.rb", "002.js", "changelog-2.xml", "2.yaml", "below/2.sql", "2021_init/migration.sql"),
        ):
            with self.subTest(name):
                message = self.refused("1.sql", name)
                self.assertIn(name.split("/")[0], message)
                self.assertIn("one by one", message)

    def test_folder_without_sql_asks_for_a_callable(self) -> None:
        for names in (["env.py", "script.py.mako"], ["README.md"], []):
            with self.subTest(names):
                self.assertRegex(self.refused(*names), "no .sql files.*\n.*callable")

    def test_ways_down_are_left_out(self) -> None:
        for names, expected in (
            (["1_a.up.sql", "1_a.down.sql"], ["1_a.up.sql"]),
            (["1_a.sql", "1_a.rollback.sql"], ["1_a.sql"]),
            (["1_a.sql", "1_a_down.sql", "2-b-up.sql", "2-b-down.sql"], ["1_a.sql", "2-b-up.sql"]),
            (["001.do.x.sql", "001.x.undo.sql"], ["001.do.x.sql"]),
            (["V1__a.sql", "U1__a.sql", "V2__b.sql"], ["V1__a.sql", "V2__b.sql"]),
            (["1.sql", "rollback/1.sql", "down/2.sql"], ["1.sql"]),
            (["1.up.SQL.gz", "1.down.SQL.gz"], ["1.up.SQL.gz"]),
        ):
            with self.subTest(names):
                self.assertEqual(self.ran(*names), expected)

    def test_names_that_only_remind_of_one_run(self) -> None:
        names = ["1_create_undo_log.sql", "2_shutdown.sql", "3_drop_down.sql", "4_count_down.sql", "U1__users.sql"]
        self.assertEqual(self.ran(*names), names)

    def test_only_ways_down_are_no_migrations(self) -> None:
        self.assertIn("only files that undo others", self.refused("1.down.sql", "2.down.sql"))

    def test_what_only_flyway_can_place_is_refused(self) -> None:
        for name in ("B3__baseline.sql", "beforeMigrate.sql", "afterEachMigrate__x.sql"):
            with self.subTest(name):
                self.assertRegex(self.refused("V1__a.sql", name), f"{name}.*Flyway")


class OrderTests(FilesCase):
    def test_numbers_count_as_numbers(self) -> None:
        for names in (
            ["9_a.sql", "10_a.sql", "11_a.sql"],
            ["08_a.sql", "009_a.sql", "10_a.sql"],
            ["V1__a.sql", "V1.1__a.sql", "V1_2__a.sql", "V1.9__a.sql", "V1.10__a.sql", "V2__a.sql", "V10__a.sql"],
            ["V1__a.sql", "V20__b.sql", "R__a_view.sql", "R__b_view.sql"],
            ["20210101120000_a.sql", "20210101120001_b.sql"],
            ["1.9_a.sql", "1.10_a.sql"],
            ["a.sql", "b.sql", "c2.sql", "c10.sql"],
        ):
            with self.subTest(names):
                self.assertEqual(self.ran(*reversed(names)), names)

    def test_order_that_is_not_that_of_the_names_is_said_once(self) -> None:
        with self.assertLogs("containertest", "INFO") as logged:
            self.ran("10.sql", "9.sql")
        self.assertRegex("\n".join(logged.output), r"order of the numbers.*9\.sql, 10\.sql")
        with self.assertNoLogs("containertest", "INFO"):
            self.ran("01.sql", "02.sql")


class ContentTests(FolderCase):
    def read(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        return read_script(path, MigrationError)

    def failure(self, name: str, content: bytes) -> str:
        with self.assertRaises(MigrationError) as caught:
            self.read(name, content)
        return str(caught.exception)

    def test_packed_files_are_unpacked(self) -> None:
        sql = b"SELECT 'a';"
        self.assertEqual(self.read("a.sql.gz", gzip.compress(sql)), "SELECT 'a';")
        self.assertEqual(self.read("a.sql.XZ", lzma.compress(sql)), "SELECT 'a';")

    def test_broken_pack_says_so(self) -> None:
        for name, content in (
            ("a.sql.gz", b"SELECT 1"),
            ("b.sql.gz", gzip.compress(b"x" * 99)[:-9]),
            ("c.sql.xz", b"x"),
        ):
            with self.subTest(name):
                self.assertRegex(self.failure(name, content), f"{name}: it can't be unpacked")

    def test_dumps_and_packs_under_other_names_say_what_they_are(self) -> None:
        archive = self.folder / "a.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(__file__, "toc.dat")
        zipped = self.folder / "a.zip"
        with zipfile.ZipFile(zipped, "w") as made:
            made.writestr("a.sql", "x")
        for content, what in (
            (b"PGDMP\x01\x0e", "custom format.*pg_restore -f"),
            (archive.read_bytes(), "tar.*pg_restore -f"),
            (gzip.compress(b"x"), "gzip.*gunzip"),
            (lzma.compress(b"x"), "xz.*unxz"),
            (bz2.compress(b"x"), "bzip2.*bunzip2"),
            (b"\x28\xb5\x2f\xfd\x00", "zstd.*unzstd"),
            (zipped.read_bytes(), "zip"),
        ):
            with self.subTest(what):
                self.assertRegex(self.failure("schema.sql", content).replace("\n", " "), what)

    def test_dump_in_directory_format_says_what_it_is(self) -> None:
        folder = self.folder / "dump"
        folder.mkdir()
        (folder / "toc.dat").write_bytes(b"PGDMP")
        with self.assertRaisesRegex(ConfigError, "directory format.*\n.*pg_restore -f"):
            self.migrations("dump")

    def test_encoding_that_a_file_names_is_its_encoding(self) -> None:
        for statement, codec in (
            ("SET client_encoding = 'LATIN1';", "latin-1"),
            ("set CLIENT_ENCODING to 'WIN1252';", "cp1252"),
            ("SET NAMES 'LATIN9';", "iso8859-15"),
            ("\\encoding EUC_JP", "euc_jp"),
        ):
            body = "あ" if codec == "euc_jp" else "ü"
            with self.subTest(statement):
                script = f"{statement}\nSELECT '{body}';\n"
                self.assertEqual(self.read("a.sql", script.encode(codec)), script)
        self.assertIn("not UTF-8", self.failure("a.sql", "SELECT 'ü'".encode("latin-1")))
        self.assertIn("KLINGON", self.failure("a.sql", b"SET client_encoding = 'KLINGON';"))

    def test_what_is_no_file_is_not_opened(self) -> None:
        pipe, place = self.folder / "pipe.sql", self.folder / "socket.sql"
        os.mkfifo(pipe)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(place))
            for path in (pipe, place, Path("/dev/null")):
                with self.subTest(path), self.assertRaisesRegex(MigrationError, "must be a file"):
                    read_script(path, MigrationError)
