"""SQL scripts cut into statements where psql would cut them.

The rules are those of psql's own scanner (PostgreSQL manual, "Lexical Structure", and ``psqlscan.l``):
strings and their escapes, quoted identifiers, dollar quotes, nested comments, parentheses (``CREATE RULE …
DO (a; b)``), SQL function bodies (``BEGIN ATOMIC … END``, PostgreSQL 14), the rows of ``COPY … FROM stdin``.
Nothing of a statement is changed: what comes out is a slice of what went in.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

# A word begins with a letter, "_" or anything that is not ASCII; then digits may follow, and "$", but not in the tag of
# a dollar quote. Said by what is left out: re takes 13 ms to compile "up to U+10FFFF".
_TOKEN = re.compile(
    r"""
      (?P<blank>   [ \t\n\r\f\v]+ | --[^\n\r]* )
    | (?P<comment> /\* )
    | (?P<escaped> [eE]' )
    | (?P<bits>    (?: [bBxX] | [uU]& ) ' )
    | (?P<string>  [nN]?' )
    | (?P<quoted>  " )
    | (?P<dollar>  \$ (?: [^\0-@[-^`{-\x7f][^\0-/:-@[-^`{-\x7f]* )? \$ )
    | (?P<word>    [^\0-@[-^`{-\x7f][^\0-#%-/:-@[-^`{-\x7f]* )
    | (?P<meta>    \\ )
    | (?P<end>     ; )
    | (?P<open>    \( )
    | (?P<close>   \) )
    | (?P<other>   [0-9,.=:]+ | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_ESCAPED_EDGE = re.compile(r"\\.|''|'", re.DOTALL)
# A string goes on after a line break ("Lexical Structure", 4.1.2.1), in the same mode of escapes.
_CONTINUED = re.compile(r"[ \t\f\v]*(?:--[^\n\r]*)?[\n\r](?:[ \t\n\r\f\v]|--[^\n\r]*[\n\r])*'")
_REST_OF_LINE = re.compile(r"[ \t\r\f\v]*(?:--[^\n]*)?")
_END_OF_ROWS = re.compile(r"^\\\.\r?$", re.MULTILINE)
_META = re.compile(r"\\(?P<name>[^\s\\]*|\\)(?P<arguments>[^\n]*)")

#: Commands that only say how psql shows things, or what is done anyway (`containertest.sql.variables` obeys ``\\set``).
_HARMLESS = re.compile(
    r"\\(?:restrict|unrestrict|echo|qecho|warn|pset|timing|encoding|set|unset|errverbose|conninfo|[atxHCTflz]|d[A-Za-z+]*)"
    r"(?![A-Za-z])"
)
_CONNECT = re.compile(r"\\c(?:onnect)?[ \t]+(?:-|\"?(?P<name>[^\s\"]+)\"?)(?:[ \t]+-)*[ \t]*$")
_QUIT = re.compile(r"\\q(?:uit)?(?![A-Za-z])")

_ADVICE = {
    "connect": "a file runs in the database of its connection: take the line out (pg_dump without --create)",
    "i": "name the other file in the list of files instead",
    "copy": "write COPY … FROM stdin; with the rows on the lines below it and \\. on a line after them",
    "set": "write the value into the SQL itself, or pass a Python function that fills it in",
    "if": "write it in SQL (a DO block), or pass a Python function",
    ".": "there is no COPY … FROM stdin; above it whose rows it could end",
}
_ADVICE |= dict.fromkeys(["c"], _ADVICE["connect"])
_ADVICE |= dict.fromkeys(["ir", "include", "include_relative"], _ADVICE["i"])
_ADVICE |= dict.fromkeys(["unset", "gset", "prompt", "getenv"], _ADVICE["set"])
_ADVICE |= dict.fromkeys(["elif", "else", "endif", "gexec", "watch", "crosstabview"], _ADVICE["if"])


class ScriptError(Exception):
    """A script can't be cut into statements: ``line`` (from 1) and the reason, with what to do."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason


@dataclass(frozen=True)
class Statement:
    """A statement as it stands in the script.

    ``text`` ends with its semicolon, ``offset`` is where it starts in the script (in characters) and ``line``
    its line (from 1); ``words`` are its bare words outside of parentheses, in upper case. ``rows`` is what
    stands below a ``COPY … FROM stdin``, from line ``rows_line`` on, else None.
    """

    text: str
    offset: int
    line: int
    words: tuple[str, ...]
    rows: str | None = None
    rows_line: int = 0


def split(script: str, standard_strings: Callable[[], bool] = lambda: True, database: str = "") -> Iterator[Statement]:
    """Yield the statements of ``script``, empty ones left out.

    The script is read as far as the statement that is asked for, so ``standard_strings`` may tell what the
    server's ``standard_conforming_strings`` is after the statements before. ``database`` is the one that the script
    runs in: to connect to it is to stay there. Raises ScriptError for a string,
    comment or quote without an end and for psql's backslash commands.
    """
    return _Scanner(script, standard_strings, database).statements()


def inside(script: str) -> list[tuple[int, int]]:
    """Where there are strings, quotes, comments and rows of COPY: from, to."""
    scanner = _Scanner(script, lambda: True)
    scanner.lenient = True
    for _ in scanner.statements():
        pass
    return scanner.inside


def outside_lines(script: str) -> list[int]:
    """The numbers (from 0) of the lines that begin outside of all that `inside` names."""
    starts = [0, *(found.end() for found in re.finditer("\n", script))]
    spans = iter([*inside(script), (len(script) + 1, len(script) + 1)])
    start, end = next(spans)
    numbers = []
    for number, offset in enumerate(starts):
        while offset >= end:
            start, end = next(spans)
        if not start < offset < end:
            numbers.append(number)
    return numbers


class _Scanner:
    def __init__(self, script: str, standard_strings: Callable[[], bool], database: str = "") -> None:
        self.script = script
        self.database = database
        self.standard_strings = standard_strings
        self.position = 0
        self.lines = _LineCounter(script)
        #: Where there is something whose inside is no SQL: from, to.
        self.inside: list[tuple[int, int]] = []
        #: Whether what psql would refuse is passed over.
        self.lenient = False
        self.clear()

    def clear(self) -> None:
        self.start = -1
        self.words: list[str] = []
        self.parentheses = 0
        self.body = 0

    def statements(self) -> Iterator[Statement]:
        while token := _TOKEN.match(self.script, self.position):
            kind = str(token.lastgroup)
            self.position = self.end_of(kind, token)
            if self.position > token.end() or token[0].startswith("--"):
                self.inside.append((token.start(), self.position))
            if kind == "meta":
                self.meta_command(token.start())
            elif kind not in ("blank", "comment"):
                yield from self.take(kind, token)
        if self.start >= 0:
            yield self.statement()

    def take(self, kind: str, token: re.Match[str]) -> Iterator[Statement]:
        if self.start < 0 and kind != "end":
            self.start = token.start()
        if kind == "word" and not self.parentheses:
            self.word(token[0].upper())
        elif kind == "open":
            self.parentheses += 1
        elif kind == "close":
            self.parentheses = max(0, self.parentheses - 1)
        elif kind == "end" and self.start >= 0 and not self.parentheses and not self.body:
            yield self.statement()

    def word(self, word: str) -> None:
        """Count how deep in ``BEGIN ATOMIC … END`` we are: CASE has an END too."""
        if self.body:
            self.body += (word == "CASE") - (word == "END")
        elif word == "ATOMIC" and self.words[-1:] == ["BEGIN"] and self.words[0] == "CREATE":
            self.body = 1
        self.words.append(word)

    def statement(self) -> Statement:
        text = self.script[self.start : self.position].rstrip()
        line = self.lines.at(self.start)
        words = tuple(self.words)
        rows, rows_line = self.rows() if _reads_rows(words) else (None, 0)
        statement = Statement(text, self.start, line, words, rows, rows_line)
        self.clear()
        return statement

    def rows(self) -> tuple[str, int]:
        """Take the lines below a COPY; like psql, up to ``\\.`` or the end of the file."""
        rest = _REST_OF_LINE.match(self.script, self.position)
        assert rest is not None
        start = rest.end() + 1
        if start <= len(self.script) and self.script[rest.end()] != "\n" and not self.lenient:
            reason = "text on the line of COPY … FROM stdin; move it below the \\. that ends the rows"
            raise ScriptError(self.lines.at(rest.end()), reason)
        end = _END_OF_ROWS.search(self.script, start)
        self.position = end.end() if end else len(self.script)
        self.inside.append((start - 1, self.position))
        return self.script[start : end.start() if end else None], self.lines.at(start)

    def end_of(self, kind: str, token: re.Match[str]) -> int:
        """Return where the token ends that begins with ``token``."""
        if kind == "comment":
            return self.end_of_comment(token)
        if kind == "escaped" or (kind == "string" and not self.standard_strings()):
            return self.end_of_escaped(token)
        if kind in ("string", "bits", "quoted", "dollar"):
            closing = token[0] if kind == "dollar" else token[0][-1]
            end = self.script.find(closing, token.end())
            return end + len(closing) if end >= 0 else self.unterminated(token)
        return token.end()

    def end_of_comment(self, token: re.Match[str]) -> int:
        depth = 1
        for edge in _COMMENT_EDGE.finditer(self.script, token.end()):
            depth += 1 if edge[0] == "/*" else -1
            if not depth:
                return edge.end()
        return self.unterminated(token)

    def end_of_escaped(self, token: re.Match[str]) -> int:
        position = token.end()
        while edge := _ESCAPED_EDGE.search(self.script, position):
            position = edge.end()
            if edge[0] == "'":
                continued = _CONTINUED.match(self.script, position)
                if not continued:
                    return position
                position = continued.end()
        return self.unterminated(token)

    def unterminated(self, token: re.Match[str]) -> int:
        if self.lenient:
            return len(self.script)
        reason = f"{token[0]} without its end: the file ends inside of it"
        raise ScriptError(self.lines.at(token.start()), reason)

    def meta_command(self, start: int) -> None:
        command = _META.match(self.script, start)
        assert command is not None
        self.position = command.end()
        if self.lenient or _HARMLESS.match(self.script, start):
            return
        if _QUIT.match(self.script, start):
            self.position = len(self.script)
            return
        connect = _CONNECT.fullmatch(command[0].rstrip())
        if connect and connect["name"] in (None, self.database):
            return
        name = command["name"]
        advice = _ADVICE.get(name, "take the line out")
        raise ScriptError(self.lines.at(start), f"\\{name} is a command of psql, not SQL: {advice}")


class _LineCounter:
    """Line numbers of positions that only grow, or nearly, so that a large script is counted through once."""

    def __init__(self, script: str) -> None:
        self.script = script
        self.position = 0
        self.line = 1

    def at(self, position: int) -> int:
        if position < self.position:
            return self.line - self.script.count("\n", position, self.position)
        self.line += self.script.count("\n", self.position, position)
        self.position = position
        return self.line


def _reads_rows(words: tuple[str, ...]) -> bool:
    return words[:1] == ("COPY",) and ("FROM", "STDIN") in itertools.pairwise(words)
