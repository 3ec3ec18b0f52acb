"""As much of a web framework as `containertest.sample.api` needs: requests, responses, errors, a server."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["HTTPError", "Request", "Response", "Server"]

#: Bytes that a request's body may have.
MAX_BODY = 64 * 1024


class HTTPError(Exception):
    """Ends the handling of a request with this answer."""

    def __init__(self, status: HTTPStatus, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}


@dataclass(frozen=True)
class Request:
    """What an application wants to know of a WSGI environment."""

    method: str
    path: str
    query: Mapping[str, str]
    content_type: str
    authorization: str
    body: bytes

    @classmethod
    def from_environ(cls, environ: WSGIEnvironment) -> Request:
        """Read a request, body included. :raises HTTPError: 400, 411 or 413 when the body can't be read."""
        return cls(
            method=environ["REQUEST_METHOD"],
            path=environ.get("PATH_INFO", ""),
            query=dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)),
            content_type=environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower(),
            authorization=environ.get("HTTP_AUTHORIZATION", ""),
            body=_read_body(environ),
        )

    def json(self) -> dict[str, Any]:
        """Return the JSON object that is the body. :raises HTTPError: 400 or 415 when it is anything else."""
        if self.body and self.content_type != "application/json":
            raise HTTPError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON, as Content-Type: application/json")
        try:
            data = json.loads(self.body.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise HTTPError(HTTPStatus.BAD_REQUEST, f"the body is not JSON in UTF-8: {error}") from error
        if not isinstance(data, dict):
            raise HTTPError(HTTPStatus.BAD_REQUEST, "the body must be a JSON object")
        return data

    def number(self, name: str, default: int, lowest: int, highest: int) -> int:
        """Return a whole number of the query string. :raises HTTPError: 400 when it is out of bounds."""
        text = self.query.get(name, str(default))
        # int() takes signs, blanks, underscores and foreign digits, but not more than 4,300 of them.
        if text.isascii() and text.isdigit() and len(text) <= len(str(highest)):
            number = int(text)
            if lowest <= number <= highest:
                return number
        raise HTTPError(HTTPStatus.BAD_REQUEST, f"{name} must be a whole number from {lowest} to {highest}")


def _read_body(environ: WSGIEnvironment) -> bytes:
    if "HTTP_TRANSFER_ENCODING" in environ:
        raise HTTPError(HTTPStatus.LENGTH_REQUIRED, "send the body in one piece, with a Content-Length")
    length = environ.get("CONTENT_LENGTH") or "0"
    if not (length.isascii() and length.isdigit()):
        raise HTTPError(HTTPStatus.BAD_REQUEST, "Content-Length must be a number")
    if len(length) > 9 or int(length) > MAX_BODY:
        raise HTTPError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"send at most {MAX_BODY} bytes")
    body: bytes = environ["wsgi.input"].read(int(length))
    return body


@dataclass(frozen=True)
class Response:
    """An answer; ``data`` goes out as JSON, None as no body at all."""

    status: HTTPStatus = HTTPStatus.OK
    data: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def send(self, start_response: StartResponse, head: bool = False) -> Iterable[bytes]:
        """Do what WSGI asks of an application. :param head: leave out the body (RFC 9110, 9.3.2)."""
        headers = dict(self.headers)
        body = b""
        if self.data is not None:
            body = json.dumps(self.data).encode() + b"\n"
            headers.update({"Content-Type": "application/json", "Content-Length": str(len(body))})
        start_response(f"{self.status.value} {self.status.phrase}", list(headers.items()))
        return [] if head else [body]


class QuietHandler(WSGIRequestHandler):
    """Does not write a line to standard error for each request."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(ThreadingMixIn, WSGIServer):
    """A thread for each request: enough for a test and a demonstration, not for production.

    Listens at once; ``set_app(application)``, then ``serve_forever()``.

    :param port: 0 takes a free one.
    """

    daemon_threads = True
    request_queue_size = 128  # the default of 5 makes clients that come at the same time wait a second

    def __init__(self, port: int = 0, host: str = "127.0.0.1") -> None:
        super().__init__((host, port), QuietHandler)

    @property
    def url(self) -> str:
        """Where it answers, as in "http://127.0.0.1:8000"."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"
