"""PostgreSQL as a service: what to run, and what is said of where it is. How we talk to it is in `postgres_access`."""

from __future__ import annotations

import ipaddress
import re
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from containertest import libpq
from containertest.errors import ConfigError
from containertest.services.common import check, chosen_image, identity
from containertest.services.postgres_access import MINIMUM, connect, meet, probe
from containertest.services.programs import postgres_folders
from containertest.spec import ContainerSpec, Endpoint, EntryPoint, LocalPlace, LocalSpec, Preparation, ServerSpec
from containertest.wait import Connection, LogLine, WaitStrategy

if TYPE_CHECKING:
    from containertest.settings import Settings

__all__ = ["MINIMUM", "Postgres", "connect", "meet", "probe", "spec", "url"]

DEFAULT_IMAGE = "postgres:16-alpine"
#: PostgreSQL's own database for administrative connections.
MAINTENANCE = "postgres"
PORT = 5432

#: Safe for data that are thrown away: nothing waits for a disk. Source: PostgreSQL manual, "Non-Durable Settings".
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "1h",
    "max_connections": "200",
    # The default of 1,000 makes a session close and open files all the time in a schema of some hundred tables.
    "max_files_per_process": "8000",
    # A reset locks each sequence for a moment: in a schema of thousands several processes would need more than 64.
    "max_locks_per_transaction": "128",
    "max_prepared_transactions": "64",
    "dynamic_shared_memory_type": "mmap",
}

_ADDRESS = "a server gets a free port of its own, which .port, .url and environ() tell"
#: Options that this library sets itself, and what a user should use instead.
OURS = {
    "port": _ADDRESS,
    "listen_addresses": _ADDRESS,
    "unix_socket_directories": "servers are reached by TCP only",
}


_SECRET_FILE = "/containertest/password"
#: Its data outside every volume, or an image would not keep them.
_PREPARATION = Preparation(
    arguments=("--only-initialise", _SECRET_FILE, "postgres"),
    environment={"PGDATA": "/containertest/data"},
    secret="POSTGRES_PASSWORD",
    secret_file=_SECRET_FILE,
)


@dataclass(frozen=True)
class Postgres:
    """The PostgreSQL server that a manager needs.

    :param image: Docker image; ``CONTAINERTEST_POSTGRES_IMAGE`` wins over it.
    :param username: the superuser to connect as.
    :param password: None: a random one per run.
    :param dbname: name of the database; further processes of a run get ``<dbname>_2``, ``<dbname>_3``, ….
    :param options: server settings, as in ``{"shared_preload_libraries": "pg_stat_statements"}``.
    :param memory: memory limit of the container, such as "512m"; only on Docker.
    :param wait: how readiness is told: `Connection`, `LogLine` or `ListeningPort` of `containertest.wait`.
    """

    image: str = DEFAULT_IMAGE
    username: str = "testuser"
    password: str | None = field(default=None, repr=False)
    dbname: str = "testdb"
    options: Mapping[str, Any] = field(default_factory=dict)
    memory: str | None = None
    wait: WaitStrategy = field(default_factory=Connection)

    def __post_init__(self) -> None:
        check(self, OURS)
        for name in ("username", "dbname"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value or "\0" in value or len(value.encode()) > 50:
                raise ConfigError(f"Postgres({name}=…) is {value!r}, but must be a text of 1 to 50 bytes.")
        # With such a name initdb fails, at its own statements (`CREATE EXTENSION plpgsql`).
        if set(self.username) & set("\"$'\\") or self.username.startswith("pg_"):
            raise ConfigError(
                f"Postgres(username={self.username!r}) is no name for a superuser: PostgreSQL refuses quotes, dollar "
                "signs and backslashes in it, and pg_ at its start."
            )
        if self.dbname in ("postgres", "template0", "template1"):
            raise ConfigError(f"Postgres(dbname={self.dbname!r}) is PostgreSQL's own database: choose another name.")
        if self.password is not None and (not self.password or set(self.password) & set("\0\r\n")):
            raise ConfigError("Postgres(password=…) must not be empty nor have line breaks or NUL characters.")


def spec(postgres: Postgres, settings: Settings, password: str) -> ServerSpec:
    """Describe the server that ``postgres`` and ``settings`` ask for, with this run's ``password``."""
    image, source = chosen_image(settings, "postgres", postgres.image, DEFAULT_IMAGE)
    options = {**FAST, **{str(name): _option(value) for name, value in postgres.options.items()}}
    return ServerSpec(
        service="postgres",
        title="PostgreSQL",
        identity=identity(settings, "postgres", image, options, postgres.memory, postgres.username, postgres.password),
        container=ContainerSpec(
            image=image,
            port=PORT,
            environment={
                "POSTGRES_USER": postgres.username,
                "POSTGRES_PASSWORD": password,
                "POSTGRES_DB": MAINTENANCE,
                "POSTGRES_INITDB_ARGS": " ".join(_initdb_options()),
                "PGDATA": "/var/lib/postgresql/data/pgdata",
            },
            command=_options(options),
            tmpfs=("/var/lib/postgresql/data",),
            direct=True,
            **_faster_start(postgres.wait),
        ),
        local=LocalSpec(
            programs=("postgres", "initdb"),
            setting="CONTAINERTEST_POSTGRES_BIN",
            chosen=settings.postgres_bin,
            folders=postgres_folders,
            minimum=(MINIMUM,),
            remedy=("apt-get install postgresql", "or: pip install containertest[embedded]"),
            identity=f"{postgres.username} {' '.join(_initdb_options())}",
            initialise=lambda place: _initialise(place, postgres.username),
            files=lambda place: {"pg_hba.conf": "host all all 127.0.0.1/32 scram-sha-256\n"},
            command=lambda place: _command(place, options),
            as_root=False,
        ),
        username=postgres.username,
        password=password,
        database=MAINTENANCE,
        memory=postgres.memory,
        wait=postgres.wait,
        probe=probe,
        endpoint=endpoint_of(settings.postgres_url) if settings.postgres_url else None,
        image_source=source,
    )


def _faster_start(wait: WaitStrategy) -> dict[str, Any]:
    """The parts of a `ContainerSpec` that make the official image start faster.

    Who waits for a line of the log waits for what the image logs by itself: its server is ready twice.
    """
    if isinstance(wait, LogLine):
        return {}
    command = ("sh", "-c", 'eval "$0"', _entrypoint())
    return {"entrypoint": EntryPoint(("docker-entrypoint.sh",), command), "preparation": _PREPARATION}


@cache
def _entrypoint() -> str:
    return Path(__file__).with_name("postgres-entrypoint.sh").read_text(encoding="utf-8")


def _option(value: Any) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def _options(options: Mapping[str, str]) -> list[str]:
    return [word for name, value in options.items() for word in ("-c", f"{name}={value}")]


def _initdb_options() -> list[str]:
    locale = "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8"
    return ["--no-sync", "--encoding=UTF8", f"--locale={locale}", "--auth-host=scram-sha-256"]


def _initialise(place: LocalPlace, username: str) -> Iterable[Sequence[str]]:
    yield [
        str(place.programs["initdb"]),
        f"--pgdata={place.data}",
        f"--username={username}",
        "--auth-local=scram-sha-256",
        f"--pwfile={place.password_file}",
        *_initdb_options(),
    ]


def _command(place: LocalPlace, options: Mapping[str, str]) -> list[str]:
    own = {"listen_addresses": place.host, "port": str(place.port), "unix_socket_directories": ""}
    return [str(place.programs["postgres"]), "-D", str(place.data), *_options({**options, **own})]


def url(endpoint: Endpoint, dbname: str, *, any_client: bool = False) -> str:
    """The endpoint as a URL, its user, password and database percent-encoded.

    Where libpq's variables are in force in this process, it has the parameters that put them out of force.

    :param any_client: whether programs get it whose libpq may be older than psycopg2's.
    """
    given = {*endpoint.parameters, "host", "port", "user", "password", "dbname"}
    parameters = {**libpq.keywords_of_url(given, any_client=any_client), **endpoint.parameters}
    if not parameters.get("hostaddr", "none"):
        parameters["hostaddr"] = _address(endpoint.host)
    user = quote(endpoint.username or "", safe="")
    secret = f":{quote(endpoint.password, safe='')}" if endpoint.password else ""
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    query = f"?{urlencode(parameters, quote_via=quote)}" if parameters else ""
    return f"postgresql://{user}{secret}@{host}:{endpoint.port}/{quote(dbname, safe='')}{query}"


def _address(host: str) -> str:
    """The numeric address of a host; "" if it has none."""
    with suppress(ValueError):
        return str(ipaddress.ip_address(host))
    with suppress(OSError):
        return str(socket.getaddrinfo(host, None)[0][4][0])
    return ""


def pgpass(endpoint: Endpoint) -> str:
    """The content of a password file for all databases of a server. Source: PostgreSQL manual, "The Password File"."""
    fields = (endpoint.host, str(endpoint.port), "*", endpoint.username or "", endpoint.password or "")
    escaped = [re.sub(r"([:\\])", r"\\\1", value) for value in fields]
    return ":".join(escaped) + "\n"


def endpoint_of(text: str) -> Endpoint:
    """The endpoint that a URL names; what it leaves out of how to get in is taken from libpq's variables."""
    parts = urlsplit(text)
    ways = libpq.admission()
    user, password = ways.pop("user", None), ways.pop("password", None)
    return Endpoint(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or PORT,
        username=unquote(parts.username or "") or user,
        password=unquote(parts.password or "") or password,
        database=unquote(parts.path.lstrip("/")) or MAINTENANCE,
        parameters={**ways, **dict(parse_qsl(parts.query))},
    )
