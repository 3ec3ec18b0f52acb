"""The Docker engine: how it is found, reached and asked, by testcontainers' own settings.

`docker` and `testcontainers` are imported here and in `containertest.backends.docker` only, and only when an
engine is talked to. Whatever they, requests or urllib3 raise is translated by `Engine.asking`, nowhere else.

Read by testcontainers, so that its documentation holds: ``DOCKER_HOST`` and ``DOCKER_TLS_VERIFY``,
``~/.testcontainers.properties``, the current docker context, ``TESTCONTAINERS_HOST_OVERRIDE``,
``TESTCONTAINERS_CONNECTION_MODE``, ``TESTCONTAINERS_HUB_IMAGE_NAME_PREFIX`` and ``DOCKER_AUTH_CONFIG``.
"""

from __future__ import annotations

import io
import ipaddress
import logging
import os
import socket
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from containertest.errors import BackendUnavailable, ConfigError

__all__ = ["Engine", "Image", "Route", "archive"]

#: Seconds to connect in; an engine that needs longer hangs.
CONNECT_TIMEOUT = 5.0
#: Seconds that one request may take, and that a pull may stand still.
REQUEST_TIMEOUT = 120.0

_SOCKET = Path("/var/run/docker.sock")
_DEFAULT = f"unix://{_SOCKET}"
_SEE_LOG = "The Docker engine's own log may say more."
_log = logging.getLogger("containertest")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Route:
    """How a container's port is reached from this process.

    :param host: where to connect to; None: the container's own address.
    :param bind: the engine's address that the port is published on; None: it is not published.
    :param network: the network the container has to join; None: the engine's default.
    """

    host: str | None
    bind: str | None
    network: str | None = None


@dataclass(frozen=True)
class Image:
    """An image that the engine has.

    :param name: with the prefix of testcontainers' settings.
    :param id: its digest, by which it is told from others that have had this name.
    """

    name: str
    id: str
    entrypoint: tuple[str, ...] = ()

    def starts_by(self, entrypoint: Sequence[str]) -> bool:
        """Whether this is the image's own entry point."""
        return self.entrypoint == tuple(entrypoint)


class Engine:
    """A connection to a Docker engine, made when it is first used, and made anew in a forked child.

    :param host: the engine, as in ``DOCKER_HOST``; None: the one that testcontainers would use.
    """

    def __init__(self, host: str | None = None) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._pid = 0
        self._client: Any = None
        self._route: Route | None = None

    @property
    def host(self) -> str:
        """The engine as ``DOCKER_HOST`` would name it, for another process."""
        self._connected()
        from testcontainers.core.docker_client import get_docker_host

        return self._host or get_docker_host() or _DEFAULT

    @property
    def route(self) -> Route:
        """How containers of this engine are reached."""
        client = self._connected()
        if self._route is None:
            self._route = _find_route(client)
        return self._route

    @contextmanager
    def asking(self, doing: str, remedy: str = _SEE_LOG, **attributes: Any) -> Iterator[Any]:
        """Yield docker's low-level client, and translate every error of docker, requests and urllib3.

        :param doing: completes "Docker could not …".
        :param remedy: the message's last line.
        :param attributes: set on the error.
        :raises BackendUnavailable: for all of them, and when no engine answers.
        """
        client = self._connected()
        from docker.errors import DockerException
        from requests import RequestException
        from urllib3.exceptions import HTTPError

        try:
            yield client.client.api
        except (DockerException, RequestException, HTTPError, OSError) as error:
            unavailable = BackendUnavailable(f"Docker could not {doing}: {_reason(error)}.\n{remedy}")
            vars(unavailable).update(attributes)
            raise unavailable from error

    def version(self) -> str:
        """The engine's version, as in "28.2.2"."""
        with self.asking("say its version") as api:
            return str(api.version()["Version"])

    def image(self, name: str, source: str) -> Image:
        """Make sure that the engine has an image; pull it if it must.

        :param name: as the user wrote it, without the prefix of testcontainers' settings.
        :param source: what named the image, for the message.
        :raises BackendUnavailable: if it is neither there nor to be had.
        """
        self._connected()
        from docker.errors import ImageNotFound
        from testcontainers.core.config import testcontainers_config

        image = f"{testcontainers_config.hub_image_name_prefix}{name}"
        remedy = _image_remedy(image, source)
        with self.asking(f"get the image {image!r} ({_named_by(source)})", remedy, surprising=True) as api:
            try:
                found = api.inspect_image(image)
            except ImageNotFound:
                self._pull(image)
                found = api.inspect_image(image)
        return Image(image, found["Id"], tuple(found["Config"].get("Entrypoint") or ()))

    def has(self, image: str) -> bool:
        """Whether the engine has an image, by name or id."""
        self._connected()
        from docker.errors import ImageNotFound

        with self.asking(f"look for the image {image!r}") as api:
            try:
                api.inspect_image(image)
            except ImageNotFound:
                return False
        return True

    def _pull(self, image: str) -> None:
        _log.warning("Pulling the Docker image %s; this is done once and may take a while", image)
        client = self._connected()
        client.log_in()
        layers: dict[str, str] = {}
        for event in client.client.api.pull(image, tag=_tag(image), stream=True, decode=True):
            if "error" in event:
                raise OSError(event["error"])
            if "id" in event and layers.get(event["id"]) != event.get("status"):
                layers[event["id"]] = event.get("status", "")
                done = sum(status in ("Pull complete", "Already exists") for status in layers.values())
                _log.info("Pulling %s: %d of %d layers", image, done, len(layers))

    def _connected(self) -> Any:
        with self._lock:
            if self._pid != os.getpid():
                # A forked child must not talk on its parent's sockets.
                self._client, self._route = _connect(self._host), None
                self._pid = os.getpid()
            return self._client


def archive(files: Mapping[str, str]) -> bytes:
    """A tar of ``files``: readable for every user of the container, since which one the server is differs."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, text in files.items():
            content = text.encode()
            info = tarfile.TarInfo(path.lstrip("/"))
            info.size, info.mode = len(content), 0o644
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _connect(host: str | None) -> Any:
    """testcontainers' client. Construction asks the engine for its version, so it is alive when this returns."""
    if host is None and _nowhere_to_look():
        raise BackendUnavailable(_no_engine(_DEFAULT, FileNotFoundError(2, "No such file or directory")))
    try:
        from testcontainers.core.docker_client import DockerClient, get_docker_host
    except ImportError as error:
        raise BackendUnavailable(f"Docker needs testcontainers ({error}).\nRun: pip install testcontainers") from error
    except ValueError as error:  # TESTCONTAINERS_CONNECTION_MODE is parsed at import
        raise ConfigError(f"{error}.\nAllowed are bridge_ip, gateway_ip and docker_host.") from error

    class Client(DockerClient):
        """Logs in to a registry only before a pull: the constructor's login would wait for the network."""

        auth: Any = None

        def login(self, auth_config: Any) -> None:
            self.auth = auth_config

        def log_in(self) -> None:
            if self.auth is not None:
                super().login(self.auth)
                self.auth = None

    options: dict[str, Any] = {"timeout": CONNECT_TIMEOUT}
    if host:
        options["environment"] = {**os.environ, "DOCKER_HOST": host}
        options["use_ssh_client"] = host.startswith("ssh://")
    try:
        client = _within(2 * CONNECT_TIMEOUT, lambda: Client(**options))
    except Exception as error:
        raise BackendUnavailable(_no_engine(host or get_docker_host() or _DEFAULT, error)) from error
    client.client.api.timeout = REQUEST_TIMEOUT
    return client


def _nowhere_to_look() -> bool:
    """Whether no engine can be found: told without importing anything, for those who have no Docker."""
    home = Path.home()
    config = Path(os.environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json"
    named = "DOCKER_HOST" in os.environ or "DOCKER_CONTEXT" in os.environ
    return not (named or _SOCKET.exists() or config.exists() or (home / ".testcontainers.properties").exists())


def _within(seconds: float, call: Callable[[], _T]) -> _T:
    """The result of ``call``, which may hang without a time limit of its own (ssh does)."""
    results: list[_T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True, name="containertest-docker")
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return results[0]


def _find_route(client: Any) -> Route:
    from testcontainers.core.config import ConnectionMode

    mode = client.get_connection_mode()
    if mode is ConnectionMode.bridge_ip:
        return Route(host=None, bind=None, network=client.find_host_network())
    host, bind = client.host(), "0.0.0.0"
    if mode is ConnectionMode.gateway_ip:
        host = bind = _bridge_gateway(client.client.api)
    return Route("127.0.0.1", "127.0.0.1") if _is_this_machine(host) else Route(host, bind)


def _bridge_gateway(api: Any) -> str:
    """The engine's machine as other containers see it: the default bridge's own address.

    An engine that was started on an existing bridge does not name it; it is the first of the subnet then.
    """
    for config in api.inspect_network("bridge")["IPAM"]["Config"]:
        if gateway := config.get("Gateway"):
            return str(gateway)
        return str(next(ipaddress.ip_network(config["Subnet"]).hosts()))
    raise OSError("its network 'bridge' has no address")


def _is_this_machine(host: str) -> bool:
    """Whether ``host`` is an address of this machine (or of this container's own network)."""
    try:
        with socket.socket() as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True


def _tag(image: str) -> str | None:
    """ "latest" for an image without tag or digest: docker would pull all tags, or a library's choice of them."""
    name = image.rpartition("/")[2]
    return None if ":" in name or "@" in name else "latest"


def _reason(error: BaseException) -> str:
    """What went wrong in one line, without the layers of clients around it."""
    explanation = getattr(error, "explanation", None)
    if explanation:
        return " ".join(str(explanation).split()).rstrip(".")
    for inner in _causes(error):
        if isinstance(inner, TimeoutError):
            return str(inner) if "within" in str(inner) else "it did not answer in time"
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
    return " ".join(str(error).split()).rstrip(".")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _no_engine(where: str, error: BaseException) -> str:
    remedy = "Start Docker (sudo systemctl start docker, or Docker Desktop), or name another engine in DOCKER_HOST."
    if any(isinstance(cause, PermissionError) for cause in _causes(error)):
        remedy = "Let this user use Docker: sudo usermod -aG docker $USER, then log in again."
    return f"No Docker engine answers at {where}: {_reason(error)}.\n{remedy}"


def _named_by(source: str) -> str:
    return "the default" if source == "default" else f"named by {source}"


def _image_remedy(image: str, source: str) -> str:
    correct = "name another one" if source == "default" else f"correct {source}"
    return f"Fetch it (docker pull {image}), or {correct}; behind a mirror set TESTCONTAINERS_HUB_IMAGE_NAME_PREFIX."
