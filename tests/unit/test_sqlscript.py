"""Where a script is cut into statements; no server."""

from __future__ import annotations

import unittest

from hypothesis import given
from hypothesis import strategies as st

from containertest.sql.script import ScriptError, split


def texts(script: str, *, standard_strings: bool = True) -> list[str]:
    return [statement.text for statement in split(script, lambda: standard_strings)]


class CutsTests(unittest.TestCase):
    def assert_one_statement(self, script: str) -> None:
        self.assertEqual(texts(f"{script}\nSELECT 2;"), [script, "SELECT 2;"])

    def test_semicolon_ends_a_statement(self) -> None:
        self.assertEqual(texts("SELECT 1; SELECT 2;\nSELECT 3"), ["SELECT 1;", "SELECT 2;", "SELECT 3"])

    def test_nothing_and_comments_are_no_statements(self) -> None:
        self.assertEqual(texts(" ;; -- a;\n /* b; */ ; \n"), [])

    def test_semicolon_in_a_string_is_text(self) -> None:
        self.assert_one_statement("SELECT ';', 'it''s;', N'n;', B'0', U&'\\0041;';")

    def test_backslash_in_a_standard_string_is_a_backslash(self) -> None:
        self.assertEqual(texts(r"SELECT '\'; SELECT 2;"), [r"SELECT '\';", "SELECT 2;"])

    def test_backslash_escapes_a_quote_in_an_escape_string(self) -> None:
        self.assert_one_statement(r"SELECT E'\';', e'a''\';';")

    def test_escape_string_goes_on_on_the_next_line(self) -> None:
        self.assert_one_statement("SELECT E'a' -- then\n  '\\';';")

    def test_backslash_escapes_everywhere_with_standard_strings_off(self) -> None:
        self.assertEqual(texts(r"SELECT '\';'; SELECT 2;", standard_strings=False), [r"SELECT '\';';", "SELECT 2;"])

    def test_standard_strings_are_asked_for_statement_by_statement(self) -> None:
        standard = [True]
        found = split(r"SET x; SELECT '\';'; SELECT 2", lambda: standard[-1])
        next(found)
        standard.append(False)
        self.assertEqual(next(found).text, r"SELECT '\';';")

    def test_word_that_ends_in_e_is_no_escape_string(self) -> None:
        self.assertEqual(texts(r"SELECT date'\'; SELECT 2"), [r"SELECT date'\';", "SELECT 2"])

    def test_semicolon_in_a_quoted_identifier_is_part_of_the_name(self) -> None:
        self.assert_one_statement('SELECT 1 AS "a;""b;", 2 AS U&"c;";')

    def test_dollar_quotes_nest_by_their_tags(self) -> None:
        self.assert_one_statement("SELECT $a$ ; $b$ ; $$ ; $a$ || $ü$;$$;$ü$ || $$;$a$;$$;")

    def test_dollar_in_a_name_and_in_a_parameter_opens_no_quote(self) -> None:
        self.assertEqual(texts("SELECT a$b$ FROM c$b$; SELECT $1;"), ["SELECT a$b$ FROM c$b$;", "SELECT $1;"])

    def test_comments_nest(self) -> None:
        self.assert_one_statement("SELECT /* ; /* ; */ ' ; */ 1;")

    def test_operators_stop_at_a_comment(self) -> None:
        self.assertEqual(texts("SELECT 1 +--;\n 2; SELECT 3*/*;*/4;"), ["SELECT 1 +--;\n 2;", "SELECT 3*/*;*/4;"])

    def test_rule_with_two_actions_in_parentheses_is_one_statement(self) -> None:
        self.assert_one_statement("CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2);")

    def test_sql_function_body_is_one_statement(self) -> None:
        self.assert_one_statement(
            "CREATE OR REPLACE FUNCTION f(a int) RETURNS int BEGIN ATOMIC\n"
            "  SELECT 1; SELECT CASE WHEN a > 0 THEN CASE a WHEN 1 THEN 2 END END; END;"
        )

    def test_begin_alone_opens_no_body(self) -> None:
        self.assertEqual(texts("BEGIN; SELECT 1; END;"), ["BEGIN;", "SELECT 1;", "END;"])

    def test_percent_is_left_alone(self) -> None:
        self.assert_one_statement("SELECT '100%s' LIKE '%%' || 5 % 3;")

    def test_statement_knows_its_line_and_place(self) -> None:
        script = "-- first\n\nSELECT 1; /* \n */ SELECT\n 2;\n"
        found = list(split(script))
        self.assertEqual([statement.line for statement in found], [3, 4])
        for statement in found:
            self.assertTrue(script.startswith(statement.text, statement.offset))

    def test_windows_line_ends_are_kept_in_texts(self) -> None:
        self.assertEqual(texts("SELECT 'a\r\nb';\r\nSELECT 2;\r\n"), ["SELECT 'a\r\nb';", "SELECT 2;"])


class CopyTests(unittest.TestCase):
    def test_rows_of_a_copy_are_not_read_as_sql(self) -> None:
        first, second = split("COPY t (a) FROM stdin; -- rows\n1;\t'\n$$\n\\.\nSELECT 2;")
        self.assertEqual((first.rows, first.rows_line), ("1;\t'\n$$\n", 2))
        self.assertEqual((second.text, second.line), ("SELECT 2;", 5))

    def test_copy_with_options_and_a_condition_reads_rows(self) -> None:
        (statement,) = split('copy "from" ("stdin") From StdIn WITH (FORMAT csv)\n WHERE a > 0;\n1\n\\.\n')
        self.assertEqual(statement.rows, "1\n")

    def test_rows_end_with_the_file_as_in_psql(self) -> None:
        (statement,) = split("COPY t FROM stdin;\n1\n2")
        self.assertEqual(statement.rows, "1\n2")

    def test_no_rows_at_all(self) -> None:
        for script in ("COPY t FROM stdin", "COPY t FROM stdin;", "COPY t FROM stdin;\n\\.\n"):
            with self.subTest(script):
                self.assertEqual([statement.rows for statement in split(script)], [""])

    def test_end_of_rows_with_a_windows_line_end(self) -> None:
        first, second = split("COPY t FROM stdin;\r\n1\r\n\\.\r\nSELECT 2;\r\n")
        self.assertEqual((first.rows, second.text), ("1\r\n", "SELECT 2;"))

    def test_copy_from_a_file_or_of_a_query_reads_no_rows(self) -> None:
        found = list(split("COPY t FROM 'stdin'; COPY (SELECT a FROM stdin) TO stdout; SELECT 1;"))
        self.assertEqual([statement.rows for statement in found], [None, None, None])

    def test_sql_on_the_line_of_the_copy_is_refused(self) -> None:
        with self.assertRaisesRegex(ScriptError, r"line 2: text on the line of COPY"):
            texts("\nCOPY t FROM stdin; SELECT 1;\n1\n\\.\n")


class RefusedTests(unittest.TestCase):
    def test_what_has_no_end_names_the_line_it_starts_on(self) -> None:
        for opening in ("'", "E'", '"', "$$", "$body$", "/*", "/* /* */"):
            with self.subTest(opening), self.assertRaisesRegex(ScriptError, "line 2: .* without its end"):
                texts(f"SELECT 1;\nSELECT {opening} ;\n")

    def test_psql_commands_name_the_line_and_what_to_do(self) -> None:
        for command, advice in (
            (r"\connect other", "take the line out"),
            (r"\i other.sql", "list of files"),
            (r"SELECT 1 \gset", "write the value"),
            (r"\if true", "DO block"),
            (r"\! ls", "take the line out"),
            (r"\copy t FROM 'x'", "COPY … FROM stdin"),
            (r"\gexec", "DO block"),
            (r"\.", "no COPY"),
            ("\\", "take the line out"),
        ):
            with self.subTest(command), self.assertRaises(ScriptError) as caught:
                texts(f"SELECT 1;\n{command}\n")
            self.assertEqual(caught.exception.line, 2)
            self.assertIn(command[command.index("\\") :].split()[0], caught.exception.reason)
            self.assertIn(advice, caught.exception.reason)

    def test_what_pg_dump_writes_for_psql_is_passed_over(self) -> None:
        script = "\\restrict a;b'\nSELECT 1;\n\\set ON_ERROR_STOP on\n\\unrestrict a;b'\n"
        self.assertEqual(texts(script), ["SELECT 1;"])


_PIECES = st.sampled_from(
    [
        "SELECT 1",
        "x'",
        "'a;'",
        "E'\\';'",
        '"b;"',
        "$$;$$",
        "$t$;$$;$t$",
        "/* ; /* ; */ */",
        "(a; b)",
        "a$b$",
        "$1",
        "%s",
    ]
) | st.text("ab;'\"$-/*()\\\n\t é%1E", max_size=12)


class GeneratedTests(unittest.TestCase):
    @given(st.lists(_PIECES, max_size=12))
    def test_statements_joined_again_give_the_same_statements(self, pieces: list[str]) -> None:
        try:
            found = texts(" ".join(pieces))
        except ScriptError:
            return
        self.assertEqual(texts("\n".join(found)), found)

    @given(st.lists(_PIECES, max_size=12))
    def test_nothing_but_blanks_and_comments_is_lost_between_statements(self, pieces: list[str]) -> None:
        script = " ".join(pieces)
        try:
            found = list(split(script))
        except ScriptError:
            return
        end = 0
        for statement in found:
            between, end = script[end : statement.offset], statement.offset + len(statement.text)
            self.assertEqual(texts(between), [])
            self.assertTrue(script.startswith(statement.text, statement.offset))


if __name__ == "__main__":
    unittest.main()
