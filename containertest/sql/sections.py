"""Files of migration tools that have a way up and a way down in one: only the way up is run.

Each tool marks the two with lines of its own. What can only be half understood is refused: markers of two tools, a way
down that comes first, statements outside of both, and what a tool would fill in. Sources: the manuals of dbmate, goose,
sql-migrate, micrate, rambler, node-pg-migrate, shmig, tern, MyBatis Migrations and Play.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from containertest.sql.script import ScriptError, outside_lines, split

__all__ = ["way_up"]


@dataclass(frozen=True)
class Tool:
    """How a tool marks its sections; each pattern is of a whole line.

    :param up: None: all that stands above ``down`` is the way up.
    :param alone: a line, maybe that of ``up``, by which the statements run without a transaction around them; None: the
        tool makes none.
    :param known: other lines of the tool, which mean nothing to us.
    :param refused: lines that only the tool itself can follow, and why.
    """

    name: str
    up: str | None
    down: str
    alone: str | None = None
    known: str = ""
    refused: str = ""


TOOLS = (
    Tool("dbmate", r"--\s*migrate:up(\s.*)?", r"--\s*migrate:down(\s.*)?", r".*transaction:false.*"),
    Tool(
        "goose",
        r"(?i)--\s*\+goose\s+up\s*",
        r"(?i)--\s*\+goose\s+down\s*",
        r"(?i)--\s*\+goose\s+no\s+transaction\s*",
        r"(?i)--\s*\+goose\s+(statementbegin|statementend|envsub\s+off)\s*",
        r"(?i)--\s*\+goose\b.*",
    ),
    Tool(
        "sql-migrate",
        r"(?i)--\s*\+migrate\s+up(\s.*)?",
        r"(?i)--\s*\+migrate\s+down(\s.*)?",
        r"(?i).*\bnotransaction\b.*",
        r"(?i)--\s*\+migrate\s+(statementbegin|statementend)\s*",
        r"(?i)--\s*\+migrate\b.*",
    ),
    Tool("micrate", r"(?i)--\s*\+micrate\s+up\s*", r"(?i)--\s*\+micrate\s+down\s*", known=r"(?i)--\s*\+micrate\b.*"),
    Tool("rambler", r"--\s*rambler\s+up\s*", r"--\s*rambler\s+down\s*"),
    Tool(
        "node-pg-migrate", r"(?i)--[\s-]*up\s+migration.*", r"(?i)--[\s-]*down\s+migration.*", r"(?i).*notransaction.*"
    ),
    Tool("shmig", r"--\s*=+\s*UP\s*=+\s*", r"--\s*=+\s*DOWN\s*=+\s*", r"--\s*$^"),
    Tool("Play", r"(#|--).*!Ups.*", r"(#|--).*!Downs.*"),
    Tool("tern", None, r"----\s*create above\s*/\s*drop below\s*----.*", r"----\s*tern:\s*disable-tx\s*----.*"),
    Tool("MyBatis Migrations", None, r"--\s*//\s*@UNDO.*"),
)

#: Liquibase has its way back in comments; but some words say that a change is not for each database.
_LIQUIBASE = re.compile(r"--\s*liquibase\s+formatted\s+sql", re.IGNORECASE)
_CONDITION = re.compile(
    r"--\s*(changeset\b.*\b(dbms|context|contextFilter|labels|ignore|endDelimiter)\s*:|preconditions\b|property\b)",
    re.IGNORECASE,
)
_REMEDY = "pass a callable that takes the database URL and runs the tool, or a file with the way up alone"


def way_up(script: str) -> str:
    """The script without its way down, its lines where they were; itself if it has none.

    :raises ScriptError: if it can only be half understood.
    """
    lines = script.split("\n")
    marks = [(number, line, tool) for number, line in _marked(script, lines) for tool in _fitting(line)]
    if not marks:
        return script
    tool = marks[0][2]
    for number, line, other in marks:
        if other is not tool:
            raise ScriptError(number + 1, f"markers of {tool.name} and of {other.name} in one file: {_REMEDY}")
        if _is(tool.refused, line) and not _is_known(tool, line):
            raise ScriptError(number + 1, f"{line.strip()} asks {tool.name} for what is not done here: {_REMEDY}")
    return _only_up(script, lines, tool, [(number, line) for number, line, _ in marks])


def _marked(script: str, lines: list[str]) -> Iterator[tuple[int, str]]:
    """The lines that may be markers: comments, or what begins like one, outside of strings and rows."""
    if not re.search(r"^[ \t]*(--|#)", script, re.MULTILINE):
        return
    liquibase = False
    for number in outside_lines(script):
        line = lines[number].strip()
        if not line.startswith(("--", "#")):
            continue
        liquibase = liquibase or bool(_LIQUIBASE.match(line))
        if liquibase and _CONDITION.match(line):
            raise ScriptError(number + 1, f"only Liquibase can tell whether this is for this database: {_REMEDY}")
        yield number, line


def _fitting(line: str) -> list[Tool]:
    return [
        tool
        for tool in TOOLS
        if _is(tool.up, line) or _is(tool.down, line) or _is(tool.known, line) or _is(tool.refused, line)
    ]


def _is(pattern: str | None, line: str) -> bool:
    return bool(pattern) and re.fullmatch(pattern or "", line) is not None


def _is_known(tool: Tool, line: str) -> bool:
    return any(_is(pattern, line) for pattern in (tool.up, tool.down, tool.alone, tool.known))


def _only_up(script: str, lines: list[str], tool: Tool, marks: list[tuple[int, str]]) -> str:
    ups = [number for number, line in marks if _is(tool.up, line)]
    downs = [number for number, line in marks if _is(tool.down, line)]
    if tool.up and not ups:
        raise ScriptError(marks[0][0] + 1, f"a file of {tool.name} without a way up: {_REMEDY}")
    if len(ups) > 1 or len(downs) > 1 or (ups and downs and downs[0] < ups[0]):
        raise ScriptError(marks[-1][0] + 1, f"more than one way up and one way down after it: {_REMEDY}")
    first = ups[0] if ups else -1
    last = downs[0] if downs else len(lines)
    above = "\n".join(lines[: max(first, 0)])
    if any(True for _ in split(above)):
        raise ScriptError(1, f"statements above the way up, which {tool.name} does not run: {_REMEDY}")
    up = "\n".join(lines[first + 1 : last])
    if tool.name == "Play":
        up = up.replace(";;", ";")
    if tool.alone and not any(_is(tool.alone, line) for _, line in _marked(script, lines)):
        # In one transaction, as the tool runs it; on the lines of the markers, so that all others keep their numbers.
        return "\n" * max(first, 0) + f"BEGIN;\n{up}\n;COMMIT;" if first >= 0 else f"BEGIN; {up}\n;COMMIT;"
    return "\n" * (first + 1) + up
