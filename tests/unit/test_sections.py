"""What is run of files that have a way up and a way down; no server."""

from __future__ import annotations

import unittest

from containertest.sql.script import ScriptError, split
from containertest.sql.sections import way_up
from containertest.sql.variables import filled_in

BOTH = {
    "dbmate": ("-- migrate:up", "-- migrate:down"),
    "dbmate with options": ("--  migrate:up foo:bar", "-- migrate:down transaction:true"),
    "goose": ("-- +goose Up", "-- +goose Down"),
    "goose in capitals": ("--+goose UP", "-- +GOOSE down".replace("GOOSE", "goose")),
    "sql-migrate": ("-- +migrate Up", "-- +migrate Down"),
    "micrate": ("-- +micrate Up", "-- +micrate Down"),
    "rambler": ("-- rambler up", "-- rambler down"),
    "node-pg-migrate": ("-- Up Migration", "-- Down Migration"),
    "shmig": ("-- ==== UP ====", "-- ==== DOWN ===="),
    "Play": ("# --- !Ups", "# --- !Downs"),
    "Play as a comment": ("-- !Ups", "-- !Downs"),
    "tern": ("", "---- create above / drop below ----"),
    "MyBatis": ("", "-- //@UNDO"),
}


def statements(script: str) -> list[str]:
    return [statement.text for statement in split(way_up(script))]


class WayUpTests(unittest.TestCase):
    def test_only_the_way_up_is_run(self) -> None:
        for name, (up, down) in BOTH.items():
            with self.subTest(name):
                found = statements(f"-- made by hand\n{up}\nCREATE TABLE a ();\n\n{down}\nDROP TABLE a;\n")
                self.assertEqual([text for text in found if "TABLE" in text], ["CREATE TABLE a ();"])

    def test_lines_keep_their_numbers(self) -> None:
        for name, (up, down) in BOTH.items():
            with self.subTest(name):
                script = way_up(f"\n{up}\n\nCREATE TABLE a ();\n{down}\nDROP TABLE a;")
                self.assertEqual(script.split("\n")[3], "CREATE TABLE a ();")

    def test_file_without_markers_is_as_it_is(self) -> None:
        for script in ("SELECT 1;", "-- migrate\nSELECT 1;\n-- go down\nSELECT 2;", "", "SELECT '\n-- migrate:down\n'"):
            self.assertEqual(way_up(script), script)

    def test_marker_in_a_string_or_in_rows_is_none(self) -> None:
        for inside in (
            "SELECT '\n-- +goose Down\n';",
            "DO $$\n-- +goose Down\n$$;",
            "/*\n-- +goose Down\n*/ SELECT 1;",
            "COPY t FROM stdin;\n-- +goose Down\n\\.\nSELECT 2;",
        ):
            with self.subTest(inside):
                script = way_up(f"-- +goose Up\n{inside}\n-- +goose Down\nDROP TABLE a;")
                self.assertIn(inside, script)
                self.assertNotIn("DROP", script)

    def test_tools_that_make_a_transaction_get_one(self) -> None:
        for marker, transaction in (
            ("-- migrate:up", True),
            ("-- migrate:up transaction:false", False),
            ("-- +goose Up", True),
            ("-- +goose NO TRANSACTION\n-- +goose Up", False),
            ("-- +migrate Up", True),
            ("-- +migrate Up notransaction", False),
            ("# --- !Ups", False),
        ):
            with self.subTest(marker):
                found = statements(f"{marker}\nVACUUM")
                self.assertEqual(found, ["BEGIN;", "VACUUM\n;", "COMMIT;"] if transaction else ["VACUUM"])

    def test_statement_of_goose_stays_whole(self) -> None:
        script = (
            "-- +goose Up\n-- +goose StatementBegin\nCREATE FUNCTION f() RETURNS int AS $$ SELECT 1; $$ LANGUAGE sql;"
        )
        found = statements(f"{script}\n-- +goose StatementEnd\n-- +goose Down\nDROP FUNCTION f;")
        self.assertEqual(len(found), 3)

    def test_doubled_semicolons_of_play_are_one(self) -> None:
        script = "# --- !Ups\nCREATE FUNCTION f() RETURNS int AS $$ SELECT 1;; $$ LANGUAGE sql;\n# --- !Downs\nx"
        self.assertIn("SELECT 1; $$", way_up(script))

    def test_half_understood_files_are_refused_with_what_to_pass_instead(self) -> None:
        for script, why in (
            ("-- migrate:down\nx\n-- migrate:up\ny", "one way down after it"),
            ("-- +goose Down\nx", "without a way up"),
            ("-- +goose Up\nx\n-- migrate:down\ny", "goose and of dbmate"),
            ("SELECT 1;\n-- migrate:up\nx", "above the way up"),
            ("-- +goose ENVSUB ON\n-- +goose Up\nx", "ENVSUB"),
            ("-- +migrate Upp\nx", "not done here"),
            ("-- migrate:up\na\n-- migrate:down\nb\n-- migrate:up\nc", "more than one"),
            ("--liquibase formatted sql\n--changeset a:1 dbms:mysql\nx", "Liquibase"),
        ):
            with self.subTest(script), self.assertRaisesRegex(ScriptError, f"{why}.*callable"):
                way_up(script)

    def test_plain_changes_of_liquibase_run_and_their_way_back_does_not(self) -> None:
        script = "--liquibase formatted sql\n--changeset a:1\nCREATE TABLE a ();\n--rollback DROP TABLE a;\n"
        self.assertEqual(statements(script), ["CREATE TABLE a ();"])


class VariableTests(unittest.TestCase):
    def test_variables_are_filled_in_as_psql_does(self) -> None:
        for before, after in (
            ("\\set n 5\nSELECT :n, :'n', :\"n\";", "SELECT 5, '5', \"5\";"),
            ("\\set a 'it''s' \nSELECT :'a';", "SELECT 'it''s';"),
            ("\\set a x y z\nSELECT ':a', $$:a$$, :a; -- :a", "SELECT ':a', $$:a$$, xyz; -- :a"),
            ("\\set a 1\nSELECT '2'::text, a[1:2], b[:a:2], :unknown;", "SELECT '2'::text, a[1:2], b[1:2], :unknown;"),
            ("\\set a 1\n\\set b :a 2\nSELECT :b;", "\nSELECT 12;"),
            ("\\set a 1\n\\unset a\nSELECT :a, :{?a}, :{?b};\\set b", "\nSELECT :a, FALSE, FALSE;"),
            ("SELECT :a;\n\\set a 1\nSELECT :a;", "SELECT :a;\n\nSELECT 1;"),
        ):
            with self.subTest(before):
                self.assertEqual(filled_in(before).lstrip("\n"), after.lstrip("\n"))

    def test_value_of_a_program_is_refused(self) -> None:
        with self.assertRaisesRegex(ScriptError, "line 2.*backquotes"):
            filled_in("SELECT 1;\n\\set now `date`\n")


class CommandTests(unittest.TestCase):
    def texts(self, script: str) -> list[str]:
        return [statement.text for statement in split(script, database="shop")]

    def test_commands_that_only_show_are_passed_over(self) -> None:
        for command in (
            *("\\echo made; or not", "\\qecho x", "\\warn x", "\\pset pager off", "\\timing on", "\\x", "\\a", "\\t"),
            *("\\encoding UTF8", "\\dt", "\\d users", "\\l", "\\restrict abc", "\\unrestrict abc", "\\conninfo"),
            *("\\connect shop", "\\c -", '\\connect "shop"', "\\c shop - - -"),
        ):
            with self.subTest(command):
                self.assertEqual(self.texts(f"SELECT 1;\n{command}\nSELECT 2;"), ["SELECT 1;", "SELECT 2;"])

    def test_quit_ends_the_file(self) -> None:
        self.assertEqual(self.texts("SELECT 1;\n\\q\nSELECT '"), ["SELECT 1;"])


if __name__ == "__main__":
    unittest.main()
