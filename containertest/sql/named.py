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
    r"\b(?:CREATE|ALTER|DROP)\s+(?:ROLE|USER(?!\s+MAPPING)|GROUP|TABLESPACE)\b|\bALTER\s+SYSTEM\b", re.IGNORECASE
)
_NAME = re.compile(r"""\bDATABASE\s+(?:IF\s+EXISTS\s+)?(?:"(?P<quoted>(?:[^"]|"")+)"|(?P<plain>[^\W\d][\w$]*))""", re.I)


def databases_named(path: Path, error: type[ContainerTestError]) -> Iterator[tuple[str, str]]:
    """The place of each statement, and the name as PostgreSQL knows it; nothing from where the file can't be cut."""
    try:
        for statement in split(read_script(path, error)):
            if _is_about_a_database(statement):
                for found in _NAME.finditer(statement.text):
                    name = found["plain"].lower() if found["plain"] else found["quoted"].replace('""', '"')
                    yield f"{path}, line {statement.line}", name
    except ScriptError:
        return  # is said when it is run


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
