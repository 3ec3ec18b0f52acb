"""psql's variables, filled in as psql does it: ``:name``, ``:'name'``, ``:"name"``, after ``\\set name value``.

Source: PostgreSQL manual, "psql", "SQL Interpolation".
"""

from __future__ import annotations

import re

from containertest.sql.script import ScriptError, inside

__all__ = ["filled_in"]

_NAME = r"[A-Za-z0-9_\x80-\U0010ffff]+"
#: What is told apart, in this order: a cast, an assignment in PL/pgSQL, a reference, the commands that set and unset.
_REFERENCE = re.compile(
    rf"""::|:=|:(?P<quote>['"])(?P<quoted>{_NAME})(?P=quote)|:(?P<plain>{_NAME})|:\{{\?(?P<asked>{_NAME})\}}"""
    r"|\\(?P<command>set|unset)\b(?P<arguments>[^\n]*)"
)
_WORD = re.compile(
    rf"""'(?P<text>(?:''|\\.|[^'\\])*)'|:(?P<name>{_NAME})|(?P<bad>`)|(?P<bare>[^\s'`:]+|:)|(?P<gap>\s+)"""
)


def filled_in(script: str) -> str:
    """The script with its variables filled in and the commands that set them taken out; lines stay where they are.

    A variable that is not set stays as it stands, as it does with psql.
    """
    if not re.search(r"\\set\b", script):
        return script
    spans = iter([*inside(script), (len(script) + 1, len(script) + 1)])
    start, end = next(spans)
    values: dict[str, str] = {}
    parts, done = [], 0
    for found in _REFERENCE.finditer(script):
        while found.start() >= end:
            start, end = next(spans)
        if start <= found.start():
            continue
        parts += [script[done : found.start()], _replacement(found, values, script)]
        done = found.end()
    return "".join([*parts, script[done:]])


def _replacement(found: re.Match[str], values: dict[str, str], script: str) -> str:
    if found["command"]:
        return _obeyed(found["command"], found["arguments"], values, script.count("\n", 0, found.start()) + 1)
    if found["asked"]:
        return str(found["asked"] in values).upper()
    name = found["quoted"] or found["plain"]
    if name not in values:
        return found[0]
    value, quote = values[name], found["quote"]
    if not quote:
        return value
    doubled = value.replace(quote, quote * 2)
    return f" E'{doubled}'".replace("\\", "\\\\") if quote == "'" and "\\" in value else f"{quote}{doubled}{quote}"


def _obeyed(command: str, arguments: str, values: dict[str, str], line: int) -> str:
    name, _, rest = arguments.strip().partition(" ")
    if command == "unset":
        values.pop(name, None)
    elif name and name.upper() != "ON_ERROR_STOP":
        values[name] = "".join(_words(rest.strip(), values, line))
    return ""


def _words(text: str, values: dict[str, str], line: int) -> list[str]:
    """The words of ``\\set``, which psql puts together without the spaces between them."""
    words = []
    for found in _WORD.finditer(text):
        if found["bad"]:
            raise ScriptError(line, r"\set with backquotes runs a program: write the value itself")
        if found["name"]:
            words.append(values.get(found["name"], found[0]))
        elif found["text"] is not None:
            words.append(found["text"].replace("''", "'").replace(r"\n", "\n").replace("\\\\", "\\"))
        elif found["bare"]:
            words.append(found["bare"])
    return words
