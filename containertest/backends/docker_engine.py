"""The Docker engine: how it is found, reached and asked, by testcontainers' own settings.

An engine of this machine is asked by `docker_plain`. `docker` and `testcontainers` are imported only where that
does not do. Whatever they, requests or urllib3 raise is translated by `Engine.asking`, nowhere else.

Read by testcontainers, so that its documentation holds: ``DOCKER_HOST`` and ``DOCKER_TLS_VERIFY``,
``~/.testcontainers.properties``, ``TESTCONTAINERS_HOST_OVERRIDE``,
``TESTCONTAINERS_CONNECTION_MODE``, ``TESTCONTAINERS_HUB_IMAGE_NAME_PREFIX`` and ``DOCKER_AUTH_CONFIG``.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from containertest.backends import docker_context
from containertest.backends.docker_messages import image_remedy, named_by, no_engine, reason
from containertest.backends.docker_plain import CONNECT_TIMEOUT, SOCKET, PlainApi, plain_socket
from containertest.backends.docker_route import LOCAL, Route, find_route, is_local
from containertest.errors import BackendUnavailable, ConfigError, ContainerTestError

__all__ = ["Engine", "Image", "inspected", "tolerating"]

#: Seconds that one request may take, and that a pull may stand still.
REQUEST_TIMEOUT = 120.0

_DEFAULT = f"unix://{SOCKET}"
_SEE_LOG = "The Docker engine's own log may say more."
_log = logging.getLogger("containertest")
_T = TypeVar("_T")


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
    """A Docker engine, reached when it is first asked, and anew in a forked child.

    :param host: the engine, as in ``DOCKER_HOST``; None: the one that testcontainers would use.
    """

    def __init__(self, host: str | None = None) -> None:
        self._host = host
        self._lock = threading.RLock()
        self._pid = 0
        self._plain: PlainApi | None = None
        #: testcontainers' client; only where the plain one can't do it.
        self._client: Any = None
        self._route: Route | None = None

    @property
    def host(self) -> str:
        """The engine as ``DOCKER_HOST`` would name it, for another process."""
        self._connected()
        return self._host or (f"unix://{self._plain.path}" if self._plain else _host_chosen())

    @property
    def route(self) -> Route:
        """How containers of this engine are reached."""
        self._connected()
        if self._route is None:
            self._route = LOCAL if self._plain else find_route(self._client)
        return self._route

    @contextmanager
    def asking(self, doing: str, remedy: str = _SEE_LOG, **attributes: Any) -> Iterator[Any]:
        """Yield docker's low-level client, or a `PlainApi`; translate every error of docker, requests and urllib3.

        :param doing: completes "Docker could not …".
        :param remedy: the message's last line.
        :param attributes: set on the error.
        :raises BackendUnavailable: for all of them, and when no engine answers.
        """
        api = self._connected()
        try:
            yield api
        except Exception as error:
            if not _is_of_engine(error):
                raise
            unavailable = BackendUnavailable(f"Docker could not {doing}: {reason(error)}.\n{remedy}")
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
        image = name if self._plain else f"{_prefix_by_testcontainers()}{name}"
        remedy = image_remedy(image, source)
        with self.asking(f"get the image {image!r} ({named_by(source)})", remedy, surprising=True) as api:
            found = inspected(api, image)
            if found is None:
                self._pull(image)
                found = api.inspect_image(image)
        return Image(image, found["Id"], tuple(found["Config"].get("Entrypoint") or ()))

    def has(self, image: str) -> bool:
        """Whether the engine has an image, by name or id."""
        with self.asking(f"look for the image {image!r}") as api:
            return inspected(api, image) is not None

    def _pull(self, image: str) -> None:
        _log.warning("Pulling the Docker image %s; this is done once and may take a while", image)
        client = self._by_testcontainers()
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
                self._client, self._route, self._plain = None, None, _plainly(self._host)
                if self._plain is None:
                    self._client = _connect(self._host)
                self._pid = os.getpid()
            return self._plain or self._client.client.api

    def _by_testcontainers(self) -> Any:
        with self._lock:
            self._client = self._client or _connect(self._host)
            return self._client


@contextmanager
def tolerating(*statuses: int) -> Iterator[None]:
    """Let the engine refuse what is asked with one of these HTTP statuses."""
    try:
        yield
    except Exception as error:
        if getattr(error, "status_code", None) not in statuses:
            raise


def inspected(api: Any, image: str) -> Any:
    """What the engine knows of an image; None if it has it not."""
    with tolerating(404):
        return api.inspect_image(image)


def _is_of_engine(error: Exception) -> bool:
    """Whether it is an error of talking to an engine; told without importing what it may come from."""
    roots = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return isinstance(error, OSError) or not roots.isdisjoint(("docker", "requests", "urllib3"))


def _plainly(host: str | None) -> PlainApi | None:
    """The engine to be asked without any library, if that can be; it has answered then."""
    path = plain_socket(host)
    if path is None:
        return None
    try:
        api = PlainApi(path, CONNECT_TIMEOUT)
        api.version()
        if host is None and not is_local(api):
            return None
    except (FileNotFoundError, ConnectionRefusedError, PermissionError) as error:
        raise BackendUnavailable(no_engine(str(_context_of(f"unix://{path}") or f"unix://{path}"), error)) from error
    except (OSError, LookupError, TypeError, ValueError):
        return None  # it answers otherwise than expected: docker's library may know how to talk to it
    return PlainApi(path, REQUEST_TIMEOUT)


def _host_chosen() -> str:
    if context := docker_context.chosen():
        return context.host
    from testcontainers.core.docker_client import get_docker_host

    return get_docker_host() or _DEFAULT


def _prefix_by_testcontainers() -> str:
    from testcontainers.core.config import testcontainers_config

    return str(testcontainers_config.hub_image_name_prefix)


def _connect(host: str | None) -> Any:
    """testcontainers' client. Construction asks the engine for its version, so it is alive when this returns."""
    try:
        from testcontainers.core.docker_client import DockerClient
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

        def host(self) -> str:
            # The name of a machine behind ssh it takes from DOCKER_HOST only.
            name = str(super().host())
            return urlsplit(variables.get("DOCKER_HOST", "")).hostname or name if name == "ssh" else name

    context = docker_context.chosen() if host is None else _context_of(host)
    variables = context.variables() if context else {"DOCKER_HOST": host} if host else {}
    options: dict[str, Any] = {"timeout": CONNECT_TIMEOUT}
    if variables:
        options["environment"] = {**os.environ, **variables}
        options["use_ssh_client"] = variables["DOCKER_HOST"].startswith("ssh://")
    try:
        client = _within(2 * CONNECT_TIMEOUT, lambda: Client(**options))
    except Exception as error:
        raise BackendUnavailable(no_engine(str(context or host or _host_chosen()), error)) from error
    client.client.api.timeout = REQUEST_TIMEOUT
    return client


def _context_of(host: str) -> docker_context.Context | None:
    """The chosen context, if it is that of an engine which another process has noted: for its TLS files."""
    with suppress(ContainerTestError):
        if (context := docker_context.chosen()) and context.host == host:
            return context
    return None


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


def _tag(image: str) -> str | None:
    """ "latest" for an image without tag or digest: docker would pull all tags, or a library's choice of them."""
    name = image.rpartition("/")[2]
    return None if ":" in name or "@" in name else "latest"
