"""Arguments, environment and files -> one frozen `Settings`.

Each setting is taken from a keyword argument, else ``CONTAINERTEST_<NAME>`` in the environment, else
``[containertest]`` in ``setup.cfg`` or ``[tool.containertest]`` in ``pyproject.toml`` (of the working
directory or the nearest folder above it that has such a section), else its default. Everything is read when
`Settings.load` is called, nothing at import.
"""

from __future__ import annotations

import configparser
import difflib
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from containertest.errors import ConfigError
from containertest.files import working_folders

__all__ = ["BACKENDS", "INTERNAL", "PREFIX", "Settings"]

PREFIX = "CONTAINERTEST_"
BACKENDS = ("auto", "docker", "local", "external")
#: Variables of this prefix that are not settings: the run's id, which a run hands to its descendants.
INTERNAL = frozenset({"CONTAINERTEST_SESSION"})

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off", ""})


def _backend(value: str) -> str:
    if value.lower() not in BACKENDS:
        raise ValueError(f"one of {', '.join(BACKENDS)}{_did_you_mean(value.lower(), BACKENDS)}")
    return value.lower()


def _flag(value: str) -> bool:
    if value.lower() not in _TRUE | _FALSE:
        raise ValueError("1 or 0 (or true/false, yes/no, on/off)")
    return value.lower() in _TRUE


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 10**8:
        raise ValueError("a number of seconds, 0 or more")
    return seconds


def _timeout(value: str) -> float:
    try:
        if (seconds := _seconds(value)) > 0:
            return seconds
    except ValueError:
        pass
    raise ValueError("a number of seconds above 0")


def _url(*schemes: str) -> Callable[[str], str | None]:
    def parse(value: str) -> str | None:
        allowed = f"{schemes[0]}://user:password@host:port/…"
        try:
            parts = urlsplit(value)
            fits = parts.scheme in schemes and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(f"{allowed} (special characters in the password as %-codes)")
        return value

    return parse


def _text(value: str) -> str:
    if any(character.isspace() for character in value):
        raise ValueError("a name without spaces")
    return value


@dataclass(frozen=True)
class Settings:
    """The settings of one manager. `Settings.load` makes them; the README has them all in a table."""

    backend: str = field(default="auto", metadata={"parse": _backend})
    postgres_image: str | None = field(default=None, metadata={"parse": _text})
    redis_image: str | None = field(default=None, metadata={"parse": _text})
    postgres_url: str | None = field(default=None, repr=False, metadata={"parse": _url("postgresql", "postgres")})
    redis_url: str | None = field(default=None, repr=False, metadata={"parse": _url("redis", "rediss")})
    postgres_bin: str | None = field(default=None, metadata={"parse": str})
    redis_bin: str | None = field(default=None, metadata={"parse": str})
    startup_timeout: float = field(default=60.0, metadata={"parse": _timeout})
    keep_alive: float = field(default=0.0, metadata={"parse": _seconds})
    keep_failed: bool = field(default=False, metadata={"parse": _flag})
    strict: bool = field(default=False, metadata={"parse": _flag})
    #: Setting -> what gave it its value: "argument", the variable, or the file.
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)

    @classmethod
    def load(cls, **arguments: Any) -> Settings:
        """Read the settings; an argument that is None counts as not given.

        :raises ConfigError: for an unknown setting or a value that is not allowed; the message names the
            variable, its value and what is allowed.
        """
        known = {item.name: item.metadata["parse"] for item in fields(cls) if "parse" in item.metadata}
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for name, raw, source in (*_from_files(), *_from_environment(), *_from_arguments(arguments)):
            if name not in known:
                raise ConfigError(_unknown(name, source, known))
            if raw == "" and known[name] is not _flag:
                continue
            values[name] = _parsed(known[name], raw, source, secret=name.endswith("_url"))
            sources[name] = source
        return cls(**values, sources=sources)

    def source(self, name: str) -> str:
        """What gave the setting ``name`` its value: "default", "argument", a variable or a file."""
        return self.sources.get(name, "default")


def _parsed(parse: Callable[[str], Any], raw: Any, source: str, secret: bool) -> Any:
    try:
        return parse(str(raw).strip() if not isinstance(raw, bool) else str(int(raw)))
    except ValueError as error:
        shown = "the value given (not shown, it may hold a password)" if secret else repr(raw)
        raise ConfigError(f"{source} is {shown}, but must be {error}.") from None


def _from_arguments(arguments: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
    return [(name, raw, f"argument {name}") for name, raw in arguments.items() if raw is not None]


def _from_environment() -> list[tuple[str, Any, str]]:
    return [
        (variable[len(PREFIX) :].lower(), raw, variable)
        for variable, raw in sorted(os.environ.items())
        if variable.startswith(PREFIX) and variable not in INTERNAL
    ]


def _from_files() -> list[tuple[str, Any, str]]:
    for folder in (above for here in working_folders() for above in (here, *here.parents)):
        for name, read in (("setup.cfg", _read_cfg), ("pyproject.toml", _read_toml)):
            path = folder / name
            # Not Path.is_file(), which raises an error where a folder above is closed to this user.
            if os.path.isfile(path) and (section := read(path)) is not None:
                return [(key.replace("-", "_"), raw, f"{key} in {path}") for key, raw in section.items()]
    return []


def _read_cfg(path: Path) -> Mapping[str, Any] | None:
    # No default section: what stands there is for others.
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        parser.read(path, encoding="utf-8-sig")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} can't be read: {error}") from error
    return parser["containertest"] if parser.has_section("containertest") else None


def _read_toml(path: Path) -> Mapping[str, Any] | None:
    try:
        content = path.read_bytes()
    except PermissionError:  # as configparser does
        return None
    if b"containertest" not in content:
        return None
    if sys.version_info < (3, 11):
        if not re.search(rb"^[ \t]*\[[ \t]*tool[ \t]*\.[ \t]*containertest[ \t]*\]", content, re.MULTILINE):
            return None
        raise ConfigError(
            f"{path} has settings of containertest, but Python {sys.version_info[0]}.{sys.version_info[1]} can't read "
            "TOML. Put them into setup.cfg, section [containertest], or use Python 3.11 or newer."
        )
    import tomllib

    try:
        tool = tomllib.loads(content.decode()).get("tool")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} can't be read: {error}") from error
    section = tool.get("containertest") if isinstance(tool, dict) else None
    return section if isinstance(section, dict) else None


def _did_you_mean(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _unknown(name: str, source: str, known: Mapping[str, Any]) -> str:
    if source.startswith(PREFIX):
        names = [PREFIX + key.upper() for key in known]
        return f"Unknown setting {source}{_did_you_mean(source, names)}. Known are: {', '.join(sorted(names))}."
    # Perhaps the name that it has in the environment.
    close = _did_you_mean(name.lower().removeprefix(PREFIX.lower()), known)
    return f"Unknown setting {source}{close}. Known are: {', '.join(sorted(known))}."
