"""What an SQL file says of a whole database or of the whole server."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from containertest.errors import ContainerTestError
from containertest.sql.reading import read_script
from containertest.sql.script import ScriptError, Statement, split

__all__ = ["changes_the_server", "databases_named"]

#: What files say that change the whole server, also in the body of a DO. Too much costs a server more, nothing else.
_SERVER = re.compile(
    r"\b(?:CREATE|ALTER|DROP)\s+(?:ROLE|USER(?!\s+MAPPING)|GROUP|TABLESPACE)\b|\bALTER\s+SYSTEM\b"
    r"|\b(?:CREATE|DROP)\s+DATABASE\b|\bCOMMENT\s+ON\s+(?:ROLE|TABLESPACE)\b",
    re.IGNORECASE,
)
_NAME = re.compile(r"""\s*(?:"(?P<quoted>(?:[^"]|"")+)"|(?P<plain>[^\W\d][\w$]*))\s*(?P<more>,?)""")
_DATABASE = re.compile(r"\bDATABASE\s+(?:IF\s+EXISTS\s+)?", re.IGNORECASE)


def databases_named(path: Path, error: type[ContainerTestError]) -> Iterator[tuple[str, str]]:
    """The place of each statement, and the name as PostgreSQL knows it; nothing from where the file can't be cut."""
    script = read_script(path, error)
    if not _DATABASE.search(script):
        return
    try:
        for statement in split(script):
            if _is_about_a_database(statement):
                yield from ((f"{path}, line {statement.line}", name) for name in _names(statement.text))
    except ScriptError:
        return  # is said when it is run


def _names(text: str) -> Iterator[str]:
    for start in _DATABASE.finditer(text):
        found = _NAME.match(text, start.end())
        while found:
            yield found["plain"].lower() if found["plain"] else found["quoted"].replace('""', '"')
            found = _NAME.match(text, found.end()) if found["more"] else None


def _is_about_a_database(statement: Statement) -> bool:
    words = statement.words
    if words[1:2] == ("DATABASE",):
        return words[0] in ("ALTER", "DROP")
    if words[:1] and words[0] in ("GRANT", "REVOKE", "COMMENT", "SECURITY"):
        return ("ON", "DATABASE") in itertools.pairwise(words)
    return words[:2] in (("ALTER", "ROLE"), ("ALTER", "USER")) and ("IN", "DATABASE") in itertools.pairwise(words)


def changes_the_server(path: Path, error: type[ContainerTestError]) -> bool:
    """Whether the file speaks of roles, tablespaces or settings of the whole server."""
    return bool(_SERVER.search(read_script(path, error)))
