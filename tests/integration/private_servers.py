"""A private PostgreSQL and a private Redis for tests of parts that know nothing of backends.

Each is started once per process when it is first asked for, with a random password, and is gone with its
folder when the process ends.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import glob
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg2
import redis

DEADLINE = 60.0


@functools.cache
def postgres() -> dict[str, Any]:
    """Return the connection arguments of the private PostgreSQL (its superuser ``tester``)."""
    binaries, folder, password = _postgres_binaries(), _folder(), secrets.token_hex(12)
    secret = folder / "password"
    secret.write_text(password)
    _owned(secret)
    data = folder / "data"
    initdb = ["initdb", "-D", str(data), "-U", "tester", f"--pwfile={secret}", "-A", "scram-sha-256"]
    _run(binaries, [*initdb, "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"])
    port = _free_port()
    settings = ["fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_prepared_transactions=4"]
    settings += [f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={folder}"]
    options = [part for setting in settings for part in ("-c", setting)]
    _start([str(binaries / "postgres"), "-D", str(data), *options], folder, _postgres_user())
    arguments = {
        "host": "127.0.0.1",
        "port": port,
        "user": "tester",
        "password": password,
        "dbname": "postgres",
    }
    _poll(lambda: psycopg2.connect(**arguments).close(), psycopg2.OperationalError)
    return arguments


def connect(**changed: Any) -> Any:
    """Return a new psycopg2 connection to the private PostgreSQL."""
    return psycopg2.connect(**{**postgres(), **changed})


def postgres_tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run psql or pg_dump against the private PostgreSQL."""
    server = postgres()
    names = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGPASSWORD": "password"}
    environment = {variable: str(server[key]) for variable, key in names.items()}
    command = [str(_postgres_binaries() / name), *arguments]
    return subprocess.run(
        command,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )


@functools.cache
def redis_server() -> dict[str, Any]:
    """Return the connection arguments of the private Redis."""
    folder, password, port = _folder(), secrets.token_hex(12), _free_port()
    program = shutil.which("redis-server")
    assert program, "redis-server is not on PATH"
    config = folder / "redis.conf"
    config.write_text(
        f'port {port}\nbind 127.0.0.1\nrequirepass {password}\nsave ""\nappendonly no\ndir {folder}\n'
        + ("enable-debug-command yes\n" if redis_version() >= 7 else "")
    )
    _start([program, str(config)], folder, None)
    arguments = {"host": "127.0.0.1", "port": port, "password": password}
    _poll(lambda: redis.Redis(**arguments).ping(), redis.ConnectionError)
    return arguments


@functools.cache
def redis_version() -> int:
    """Return the major version of the private Redis."""
    shown = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout
    return int(shown.split("v=")[1].split(".")[0])


def redis_client(**changed: Any) -> redis.Redis:
    """Return a new client of the private Redis."""
    return redis.Redis(**{**redis_server(), **changed})


def _postgres_binaries() -> Path:
    found = [*glob.glob("/usr/lib/postgresql/*/bin"), os.path.dirname(shutil.which("postgres") or "")]
    newest = max(filter(None, found), key=lambda path: [int(part) for part in path.split("/") if part.isdigit()])
    return Path(newest)


def _postgres_user() -> str | None:
    """PostgreSQL refuses to run as root."""
    return "postgres" if os.geteuid() == 0 else None


def _owned(path: Path) -> None:
    user = _postgres_user()
    if user:
        shutil.chown(path, user)


def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="containertest-private-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _owned(folder)
    return folder


def _run(binaries: Path, command: list[str]) -> None:
    program = [str(binaries / command[0]), *command[1:]]
    subprocess.run(program, user=_postgres_user(), check=True, capture_output=True, cwd="/", timeout=DEADLINE)


def _start(command: list[str], folder: Path, user: str | None) -> None:
    with open(folder / "log", "w") as log:
        server = subprocess.Popen(command, user=user, cwd="/", stdout=log, stderr=log)
    atexit.register(_end, server)


def _end(server: subprocess.Popen[bytes]) -> None:
    server.send_signal(3)  # SIGQUIT: PostgreSQL's immediate shutdown
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(10)
        return
    server.kill()
    server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _poll(check: Any, not_yet: type[Exception]) -> None:
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            check()
            return
        except not_yet:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
