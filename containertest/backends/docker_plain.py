"""A Docker engine behind a Unix socket of this machine, asked without any library: the usual case, the fast way.

`docker` and `testcontainers` take a third of a second to load, which is a good part of what a start may cost.
They are for all else: TLS, ssh, registries, and whatever testcontainers' settings ask for.

Requests are HTTP/1.0: one connection each, whose end is the end of the answer. Paths have no version: the engine
then takes its own. Source: "Docker Engine API", the methods are named as in docker's low-level client.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from containertest.backends import docker_context
from containertest.errors import ContainerTestError

__all__ = ["SOCKET", "PlainApi", "Refused", "plain_socket"]

SOCKET = Path("/var/run/docker.sock")
#: Seconds to connect in.
CONNECT_TIMEOUT = 5.0


class Refused(OSError):
    """The engine answered with an error; ``explanation`` is its own."""

    def __init__(self, status_code: int, explanation: str) -> None:
        super().__init__(explanation)
        self.status_code = status_code
        self.explanation = explanation


class OddAnswer(OSError):
    """What answered is no Docker engine, or not one to be talked to in this way."""


def plain_socket(host: str | None) -> str | None:
    """The Unix socket of the engine, if nothing asks for more than to connect there.

    :param host: as in ``DOCKER_HOST``; None: the engine that testcontainers would use.
    """
    if host is None:
        if _asks_for_more():
            return None
        host = os.environ.get("DOCKER_HOST") or _host_of_context()
    path = host.removeprefix("unix://")
    return path if path != host and path.startswith("/") else None


def _host_of_context() -> str:
    try:
        context = docker_context.chosen()
    except ContainerTestError:
        return ""  # is told by who connects
    return context.host if context else f"unix://{SOCKET}"


def _asks_for_more() -> bool:
    """Whether there is anything that testcontainers or docker would heed, besides the address of a socket."""
    harmless = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_AUTH_CONFIG")
    asking = ("DOCKER_", "TESTCONTAINERS_", "TC_HOST")
    named = any(name.startswith(asking) and name not in harmless and "RYUK" not in name for name in os.environ)
    return named or os.path.exists(f"{docker_context.home()}/.testcontainers.properties")


class PlainApi:
    """The part of docker's low-level client that this library needs, without any state: safe after a fork.

    Everything raises `Refused`, `TimeoutError` or another OSError.

    :param path: the socket.
    :param timeout: seconds that one request may take.
    """

    def __init__(self, path: str, timeout: float) -> None:
        self.path = path
        self.timeout = timeout

    def version(self) -> Any:
        return self._get("/version")

    def inspect_image(self, image: str) -> Any:
        return self._get(f"/images/{quote(image)}/json")

    def inspect_network(self, name: str) -> Any:
        return self._get(f"/networks/{quote(name)}")

    def images(self, filters: Mapping[str, Any]) -> Any:
        return self._get("/images/json", filters=json.dumps(filters))

    def remove_image(self, image: str) -> None:
        self._ask("DELETE", f"/images/{quote(image)}")

    def containers(self, all: bool, filters: Mapping[str, Any]) -> Any:
        lists = {name: [value] if isinstance(value, str) else value for name, value in filters.items()}
        return self._get("/containers/json", all=int(all), filters=json.dumps(lists))

    def create_container_from_config(self, config: Mapping[str, Any], name: str) -> None:
        self._ask("POST", "/containers/create", json.dumps(config).encode(), name=name)

    def put_archive(self, container: str, path: str, data: bytes) -> None:
        self._ask("PUT", f"/containers/{container}/archive", data, "application/x-tar", path=path)

    def start(self, container: str) -> None:
        self._ask("POST", f"/containers/{container}/start")

    def inspect_container(self, container: str) -> Any:
        return self._get(f"/containers/{container}/json")

    def logs(self, container: str, tail: int | str) -> bytes:
        return _joined(self._ask("GET", f"/containers/{container}/logs", stdout=1, stderr=1, tail=tail))

    def wait(self, container: str, timeout: float) -> Any:
        return json.loads(PlainApi(self.path, timeout)._ask("POST", f"/containers/{container}/wait"))

    def commit(self, container: str, repository: str, tag: str) -> Any:
        return json.loads(self._ask("POST", "/commit", b"{}", container=container, repo=repository, tag=tag))

    def remove_container(self, container: str, force: bool, v: bool) -> None:
        self._ask("DELETE", f"/containers/{container}", force=int(force), v=int(v))

    def _get(self, path: str, **query: Any) -> Any:
        answer = self._ask("GET", path, **query)
        try:
            return json.loads(answer)
        except ValueError as error:
            raise OddAnswer(f"its answer is not JSON: {answer[:60]!r}") from error

    def _ask(self, method: str, what: str, body: bytes = b"", kind: str = "application/json", **query: Any) -> bytes:
        target = f"{what}?{urlencode(query)}" if query else what
        fields = ("Host: docker", f"Content-Type: {kind}", f"Content-Length: {len(body)}")
        head = "\r\n".join((f"{method} {target} HTTP/1.0", *fields, "", ""))
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(min(CONNECT_TIMEOUT, self.timeout))
            connection.connect(self.path)
            connection.settimeout(self.timeout)
            connection.sendall(head.encode() + body)
            status, content = _parsed(b"".join(iter(lambda: connection.recv(1 << 16), b"")))
        if status >= 400:
            raise Refused(status, _message(content))
        return content


def _parsed(answer: bytes) -> tuple[int, bytes]:
    """Status and content of an answer."""
    head, end, content = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split()
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if not answer:
        raise OddAnswer("it closed the connection")
    if not end or len(words) < 2 or not words[1].isdigit() or "transfer-encoding" in headers:
        raise OddAnswer(f"its answer is not HTTP/1.0: {answer[:60]!r}")
    if len(content) < int(headers.get("content-length", 0)):
        raise OddAnswer("it closed the connection in the middle of an answer")
    return int(words[1]), content


def _message(content: bytes) -> str:
    try:
        return str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        return content.decode("utf-8", "replace")


def _joined(stream: bytes) -> bytes:
    """What a log's frames hold: each has a head of eight bytes, of which the last four are its length."""
    parts = []
    while len(stream) >= 8:
        end = 8 + int.from_bytes(stream[4:8], "big")
        parts.append(stream[8:end])
        stream = stream[end:]
    return b"".join(parts)
