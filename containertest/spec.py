"""What to run (`ServerSpec`) and where it answers (`Endpoint`): where services and backends meet.

A service (`containertest.services`) says what its server is, once for a container and once for a local
process; a backend (`containertest.backends`) knows how to run such a thing. Neither knows the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from containertest.wait import WaitStrategy

__all__ = ["ContainerSpec", "Endpoint", "EntryPoint", "LocalPlace", "LocalSpec", "Preparation", "ServerSpec"]


@dataclass(frozen=True)
class Endpoint:
    """Where a server answers, and as whom. Its ``repr`` hides the password.

    ``database`` is PostgreSQL's maintenance database or Redis' logical database number, as text. ``parameters``
    are further ones of the driver, which an external server's URL may have, such as PostgreSQL's ``sslmode``.
    ``near`` is a shorter way to the same server, for connections of our own: a container's ``address:port``.
    """

    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    near: str | None = None

    def nearest(self) -> Endpoint:
        """The same server, by the shorter way if there is one."""
        if self.near is None:
            return self
        host, _, port = self.near.rpartition(":")
        return replace(self, host=host, port=int(port), near=None)


@dataclass(frozen=True)
class EntryPoint:
    """What stands in for the entry point of an image.

    :param replaces: the image's entry point; an image with any other keeps its own.
    :param command: the stand-in; it is given the same arguments.
    """

    replaces: Sequence[str]
    command: Sequence[str]


@dataclass(frozen=True)
class Preparation:
    """How a container's data are made once, to be kept in an image that later containers are started from.

    The stand-in entry point must be able to do it, and to use the data when it finds them.

    :param arguments: what makes the entry point make the data and end: with status 0, or with `IMPOSSIBLE` where
        that can't be done with this image.
    :param environment: variables that the container has then, above its usual ones.
    :param secret: the variable with the password; the container hasn't it then, since an image keeps its variables.
    :param secret_file: where the entry point finds the password instead; it has to remove this file.
    """

    IMPOSSIBLE = 3

    arguments: Sequence[str]
    environment: Mapping[str, str]
    secret: str
    secret_file: str


@dataclass(frozen=True)
class ContainerSpec:
    """How a server runs in a container.

    :param image: image name, before any prefix that testcontainers' settings add.
    :param port: TCP port inside the container.
    :param environment: variables of the container.
    :param command: arguments after the image's entry point.
    :param files: path in the container -> content, put there before the start; this is how secrets stay off
        the command line, which every local user can read.
    :param tmpfs: folders of the container that are kept in memory.
    :param entrypoint: what stands in for the image's entry point, if anything.
    :param preparation: how to keep the data that it makes, where they can be kept.
    :param direct: whether connections of ours go to the container's own address where they can.
    """

    image: str
    port: int
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    command: Sequence[str] = ()
    files: Mapping[str, str] = field(default_factory=dict, repr=False)
    tmpfs: Sequence[str] = ()
    entrypoint: EntryPoint | None = None
    preparation: Preparation | None = None
    direct: bool = False


@dataclass(frozen=True)
class LocalPlace:
    """Where the local backend puts one server: what a `LocalSpec` needs to say its commands."""

    programs: Mapping[str, Path]
    version: tuple[int, ...]
    data: Path
    host: str
    port: int
    #: The password the server will have when it starts: the run's own, or, where prepared data are used
    #: again, the one they were made with. Never to be put on a command line.
    password: str = field(repr=False)
    #: A file (mode 0600, readable by who runs the programs) that holds the password, while ``initialise`` runs.
    password_file: Path


@dataclass(frozen=True)
class LocalSpec:
    """How a server runs as a local process.

    :param programs: names of the programs it needs, "this|that" for alternatives; the first one is the server and
        answers ``--version``.
    :param setting: the setting that names their folder or the server's file, as in "CONTAINERTEST_REDIS_BIN".
    :param chosen: value of that setting, if any: looked at first and, when given, alone.
    :param folders: yields the folders to search, best first; called only when ``chosen`` is not given.
    :param minimum: the lowest version that will do.
    :param remedy: the lines that tell a user how to get the programs.
    :param initialise: makes the data folder ready; yields commands. Their result depends only on the
        programs' version, ``identity`` and the password, and is kept in a cache.
    :param identity: what ``initialise`` depends on besides the version.
    :param files: name in the data folder -> content, written (mode 0600) before each start.
    :param command: the server in the foreground, logging to standard error.
    :param as_root: whether the server may run as root.
    """

    programs: Sequence[str]
    setting: str
    chosen: str | None
    folders: Callable[[], Iterable[Path]]
    minimum: tuple[int, ...]
    remedy: Sequence[str]
    command: Callable[[LocalPlace], Sequence[str]]
    initialise: Callable[[LocalPlace], Iterable[Sequence[str]]] | None = None
    identity: str = ""
    files: Callable[[LocalPlace], Mapping[str, str]] | None = None
    as_root: bool = True


@dataclass(frozen=True)
class ServerSpec:
    """What to run, for every backend.

    :param service: "postgres" or "redis"; also the prefix of its settings.
    :param identity: equal for two specs that one server can serve; holds no password in clear.
    :param title: the name in messages.
    :param username: who connects.
    :param password: what the server shall ask for, at least once it is settled (see `LocalPlace.password`).
    :param database: the `Endpoint.database` of a server that this library starts.
    :param memory: limit such as "512m", or None.
    :param wait: how readiness is told.
    :param endpoint: an existing server (the external backend), or None.
    :param probe: makes a real connection to the endpoint and closes it; raises when that fails.
    :param image_source: what named the image ("default", "argument", or the variable), for messages.
    """

    service: str
    title: str
    identity: str
    container: ContainerSpec
    local: LocalSpec
    username: str | None
    password: str = field(repr=False)
    database: str
    memory: str | None
    wait: WaitStrategy
    probe: Callable[[Endpoint], None]
    endpoint: Endpoint | None = None
    image_source: str = "default"
