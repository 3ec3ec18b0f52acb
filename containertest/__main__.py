"""The command line: ``python -m containertest`` (also installed as ``containertest``)."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import FrameType, SimpleNamespace
from typing import Any

from containertest import libpq
from containertest.errors import ConfigError, ContainerTestError
from containertest.manager import ContainerManager
from containertest.services.postgres import Postgres
from containertest.services.redis import Redis

__all__ = ["main"]

#: What writing to a full disk or a broken terminal ends with.
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
#: Stand-ins for the servers, by which templates are looked at before any is started.
SAMPLES = {
    "postgres": SimpleNamespace(
        host="h", port=1, username="u", password="p", dbname="d", url="u", version="1", backend="b"
    ),
    "redis": SimpleNamespace(host="h", port=1, password="p", db=0, url="u", version="1", backend="b"),
}
#: Signals that are passed on to the command of ``run``.
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 2 for wrong usage, 1 when it can't be done."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(format="containertest: %(message)s")
    logging.getLogger("containertest").setLevel(logging.INFO)  # not those of the libraries underneath
    try:
        status: int = given.function(given)
        if sys.stdout:  # there is none where the caller has closed it
            sys.stdout.flush()
        return status
    except ContainerTestError as error:
        print(f"containertest: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Nobody reads any more (``… | head``): end quietly, also when Python flushes at exit.
        _write_no_more()
        return 1
    except OSError as error:
        if error.errno not in UNWRITABLE or error.filename is not None:
            raise
        _write_no_more()
        print(f"containertest: the output can't be written: {error.strerror}.", file=sys.stderr)
        return 1


def _write_no_more() -> None:
    """Let Python, which flushes at its exit, write where it succeeds."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="containertest", description="A real PostgreSQL and a real Redis for tests.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run a command with servers up; without one: print the URLs and wait")
    run.add_argument("--env", action="append", default=[], metavar="NAME=TEMPLATE", help="e.g. DB={postgres.host}")
    run.add_argument("--migrations", action="append", metavar="PATH", help="a .sql file or a folder of them")
    run.add_argument("--no-postgres", action="store_true", help="PostgreSQL is not needed")
    run.add_argument("--no-redis", action="store_true", help="Redis is not needed")
    run.add_argument("--backend", help="auto, docker, local or external")
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND …")
    run.set_defaults(function=_run)
    doctor = commands.add_parser("doctor", help="what each backend finds here and what is missing")
    doctor.set_defaults(function=_doctor)
    prune = commands.add_parser("prune", help="remove what dead or kept runs left")
    prune.set_defaults(function=_prune)
    return parser


def _run(given: argparse.Namespace) -> int:
    command = given.command[1:] if given.command[:1] == ["--"] else given.command
    templates = dict(map(_pair, given.env))
    not_needed = {name for name, left_out in (("postgres", given.no_postgres), ("redis", given.no_redis)) if left_out}
    _filled_in(templates, {name: sample for name, sample in SAMPLES.items() if name not in not_needed})
    manager = ContainerManager(
        None if given.no_postgres else Postgres(),
        None if given.no_redis else Redis(),
        # Absolute: relative ones would be looked for beside this module first.
        migrations=given.migrations and [os.path.abspath(path) for path in given.migrations],
        backend=given.backend,
    )
    with manager:
        if not given.no_postgres:
            # Those for servers of others: what is run must reach ours.
            libpq.forget()
        variables = {**manager.environ(), **_filled_in(templates, manager.stack.running())}
        if given.backend:
            # What the command starts by this library shall run in the same place.
            variables.setdefault("CONTAINERTEST_BACKEND", given.backend)
        manager.stack.hand_over()
        return _execute(command, variables) if command else _show(variables)


def _pair(text: str) -> tuple[str, str]:
    name, separator, template = text.partition("=")
    if not name or not separator:
        raise ConfigError(f"--env {text} must be NAME=TEMPLATE, as in DB_HOST={{postgres.host}}.")
    return name, template


def _filled_in(templates: Mapping[str, str], running: Mapping[str, Any]) -> dict[str, str]:
    services: dict[str, Any] = {name: running.get(name) or _Missing(name) for name in ("postgres", "redis")}
    return {name: _filled(name, template, services) for name, template in templates.items()}


class _Missing:
    """Stands for a server that is not needed in a template."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> str:
        raise AttributeError(f"there is no {self._name} (--no-{self._name})")


def _filled(name: str, template: str, services: Mapping[str, Any]) -> str:
    try:
        return template.format(**services)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"--env {name}={template} can't be filled in: {error}.\n"
            "There are {postgres.host}, .port, .username, .password, .dbname, .url, .version and {redis.host}, .port, "
            ".password, .db, .url, .version."
        ) from error


def _execute(command: Sequence[str], variables: dict[str, str]) -> int:
    """Run the command, pass signals on to it, and return its status as a shell would.

    A signal that is ignored here, as under ``nohup``, stays so for the command.
    """
    received: list[int] = []
    child: list[subprocess.Popen[bytes]] = []

    def forward(number: int, frame: FrameType | None) -> None:
        if _comes_from_terminal(number):
            return
        received.append(number)
        for process in child:
            process.send_signal(number)

    heard = [number for number in PASSED_ON if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, forward) for number in heard}
    try:
        child.append(subprocess.Popen(command, env={**os.environ, **variables}))
        for number in received:
            child[0].send_signal(number)
        status = child[0].wait()
    except OSError as error:
        print(f"containertest: {command[0]} can't be run: {error.strerror or error}.", file=sys.stderr)
        return 127 if isinstance(error, FileNotFoundError) else 126
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 - status if status < 0 else status


def _comes_from_terminal(number: int) -> bool:
    """Whether a terminal has sent the signal, which the command then has had from it too."""
    if number not in (signal.SIGINT, signal.SIGQUIT):
        return False
    try:
        with open("/dev/tty", "rb", buffering=0) as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False


def _show(variables: Mapping[str, str]) -> int:
    """Print the variables and wait for Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for name, value in variables.items():
            print(f"{name}={value}")
        print("Press Ctrl-C to end.", flush=True)
        while True:
            signal.pause()
    except KeyboardInterrupt:
        print()
        return 0


def _doctor(given: argparse.Namespace) -> int:
    from containertest import doctor

    return doctor.report()


def _prune(given: argparse.Namespace) -> int:
    from containertest import prune

    return prune.everything()


if __name__ == "__main__":
    sys.exit(main())
