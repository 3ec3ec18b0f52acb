"""A Docker engine that has no image and never finishes pulling one: HTTP on a Unix socket."""

from __future__ import annotations

import json
import socketserver
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["SlowEngine"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    engine: SlowEngine

    def address_string(self) -> str:
        return "a client"

    def log_message(self, format: str, *arguments: Any) -> None: ...

    def do_GET(self) -> None:
        if self.path.endswith("/version"):
            return self._answer(200, {"ApiVersion": "1.41", "Version": "20.10.24", "MinAPIVersion": "1.12"})
        if "/containers/json" in self.path:
            return self._answer(200, [])
        if "/images/" in self.path:
            return self._answer(404, {"message": "No such image"})
        return self._answer(200, {})

    def do_POST(self) -> None:
        """Begin to send the layers of an image, and go on until this engine is closed."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps({"id": "layer", "status": "Downloading"}).encode() + b"\r\n")
        self.wfile.flush()
        self.engine.pulling.set()
        self.engine.closed.wait()
        self.close_connection = True

    def _answer(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    # Its threads wait for clients that keep their connections.
    block_on_close = False


class SlowEngine:
    """Serves as long as the context lasts; ``pulling`` is set when a pull has begun."""

    def __init__(self, socket: Path) -> None:
        self.host = f"unix://{socket}"
        self.pulling = threading.Event()
        self.closed = threading.Event()
        self._server = _Server(str(socket), type("Handler", (_Handler,), {"engine": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> SlowEngine:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
