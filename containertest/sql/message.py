"""What is said of a broken SQL file: line, statement, PostgreSQL's message, and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable

import psycopg2

from containertest.sql.extensions import extension_advice
from containertest.sql.script import Statement

_WIDTH = 100
_LINES = 14
_ROW = re.compile(r"\bCOPY .*, line (\d+)")
_ONE_TRANSACTION = (
    "A file of fixtures runs in one transaction, so that an error leaves nothing of it behind. "
    "Run this on a connection of its own (self.connect(), autocommit) or in a migration."
)
_ADVICE = {
    "25001": _ONE_TRANSACTION,
    "2D000": _ONE_TRANSACTION,
    "55P04": "Put the statement that adds the value into a file of its own, before this one.",
}
_NO_ROLE = re.compile(r'role "(.*)" does not exist')
_ROLE = (
    "If pg_dump wrote this file: pg_dump --no-owner --no-acl leaves its roles out. Else name the role as the server's "
    'own, Postgres(username="{}"), or make it in a file before this one.'
)
_ROLE_EXISTS = (
    "Roles belong to the whole server. On one that others use too, make it only where it is missing: DO $$ BEGIN IF "
    "NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '…') THEN CREATE ROLE …; END IF; END $$;"
)
_PUBLIC = "Each database has a schema public: take the line out, or have pg_dump leave it out (no -n public)."
_NEWER_DUMP = "If a newer pg_dump wrote this file: take the line out, or use a server of that version."


def statement_message(
    script: str, statement: Statement, problem: psycopg2.Error, folder: Callable[[], str], *, atomic: bool
) -> str:
    """Return ``line N: …`` for a statement of a script that failed, in at most 15 lines."""
    line, column = _place(script, statement, problem)
    text = server_message(problem)
    lines = [f"line {line}: {text[0]}", *_excerpt(script, statement, line, column), *text[1:]]
    return "\n".join([*lines[:_LINES], *_advice(statement, problem, folder, atomic)])


def server_message(problem: psycopg2.Error) -> list[str]:
    """Return PostgreSQL's own words as lines, without the position: that one is translated."""
    diag = problem.diag
    if not diag.message_primary:
        return [_cut(line) for line in str(problem).strip().splitlines()[:4]] or [type(problem).__name__]
    more = (("DETAIL", diag.message_detail), ("HINT", diag.message_hint), ("CONTEXT", diag.context))
    texts = [
        f"{diag.severity}: {diag.message_primary}",
        *(f"{label}: {text}" for label, text in more if text),
    ]
    return [_cut(line) for text in texts for line in text.splitlines()[:3]]


def _advice(statement: Statement, problem: psycopg2.Error, folder: Callable[[], str], atomic: bool) -> list[str]:
    code = problem.pgcode or ""
    if code == "42704" and statement.words[:1] == ("SET",):
        return [_NEWER_DUMP]
    if advice := extension_advice(problem.diag, folder):
        return advice
    if code == "42710" and statement.words[:2] in (("CREATE", "ROLE"), ("CREATE", "USER"), ("CREATE", "GROUP")):
        return [_ROLE_EXISTS]
    if role := _NO_ROLE.search(problem.diag.message_primary or ""):
        return [_ROLE.format(role[1])]
    if code == "42P06" and statement.words == ("CREATE", "SCHEMA", "PUBLIC"):
        return [_PUBLIC]
    return [_ADVICE[code]] if atomic and code in _ADVICE else []


def _place(script: str, statement: Statement, problem: psycopg2.Error) -> tuple[int, int]:
    """Return line (from 1) and column (from 0, or -1 where it is not known) of what is wrong."""
    position = problem.diag.statement_position
    row = _ROW.search(problem.diag.context or "")
    if position:
        offset = statement.offset + int(position) - 1
        line = statement.line + script.count("\n", statement.offset, offset)
        return line, offset - (script.rfind("\n", 0, offset) + 1)
    if row and statement.rows is not None:
        return statement.rows_line + int(row[1]) - 1, -1
    return statement.line, -1


def _excerpt(script: str, statement: Statement, line: int, column: int) -> list[str]:
    """Return a few numbered lines of the statement: its first ones and those around ``line``."""
    lines = _lines(script, statement)
    wanted = line - statement.line
    excerpt: list[str] = []
    previous = -1
    for index in sorted({0, 1, wanted - 1, wanted} & set(range(len(lines)))):
        if index > previous + 1:
            excerpt.append("      | …")
        excerpt += _numbered(statement.line + index, lines[index], column if index == wanted else -1)
        previous = index
    if previous < len(lines) - 1:
        excerpt.append("      | …")
    return excerpt


def _lines(script: str, statement: Statement) -> list[str]:
    """Return the lines the statement stands on, with the rows of a COPY."""
    start = script.rfind("\n", 0, statement.offset) + 1
    lines = script[start : statement.offset + len(statement.text)].split("\n")
    if statement.rows:
        lines += statement.rows.removesuffix("\n").split("\n")
    return lines


def _numbered(number: int, text: str, column: int) -> list[str]:
    text = text.rstrip().replace("\t", " ")
    left = max(0, column - _WIDTH * 2 // 3)
    shown = [f"{number:5} | {_cut(text[left:])}"]
    if column >= 0:
        shown.append(f"      | {' ' * (column - left)}^")
    return shown


def _cut(text: str) -> str:
    return text if len(text) <= _WIDTH else text[:_WIDTH] + " …"
