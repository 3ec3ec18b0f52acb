"""A few questions to a Redis server without redis-py, which takes a tenth of a second to load.

Source: "Redis serialization protocol specification", version 2.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import BinaryIO

from containertest.spec import Endpoint
from containertest.wait import Refusal, dial

__all__ = ["ask"]

#: Seconds to connect in, and for each answer.
TIMEOUT = 2.0
#: How answers begin that waiting does not change; before Redis 6 there were no codes for them.
REFUSED = ("WRONGPASS", "NOAUTH", "NOPERM", "DENIED", "ERR invalid password", "ERR Client sent AUTH", "ERR AUTH ")


class RedisRefused(ConnectionError):
    """The server answered with an error."""


class LockedOut(Refusal, RedisRefused):
    """The error is one that waiting does not change."""


def ask(endpoint: Endpoint, *commands: Sequence[str]) -> list[str]:
    """Log in on a new connection, run the commands and return their answers.

    :raises OSError: if the server can't be reached, or does not like what it is asked.
    :raises Refusal: if it does not let us in.
    """
    with dial(endpoint, TIMEOUT) as plain:
        connection = _encrypted(plain, endpoint.host) if "tls" in endpoint.parameters else plain
        with connection, connection.makefile("rb") as stream:
            first = _login(endpoint)
            connection.sendall(b"".join(map(_packed, (*first, *commands))))
            return [_answer(stream) for _ in (*first, *commands)][len(first) :]


def _encrypted(plain: socket.socket, host: str) -> socket.socket:
    import ssl

    try:
        return ssl.create_default_context().wrap_socket(plain, server_hostname=host)
    except ssl.SSLEOFError:
        raise  # a server that is ending
    except ssl.SSLError as error:
        raise LockedOut(str(error)) from error


def _login(endpoint: Endpoint) -> list[list[str]]:
    words = [word for word in (endpoint.username, endpoint.password) if word is not None]
    return [["AUTH", *words]] if endpoint.password is not None else []


def _packed(command: Sequence[str]) -> bytes:
    words = [word.encode() for word in command]
    return b"".join([b"*%d\r\n" % len(words), *(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)])


def _answer(stream: BinaryIO) -> str:
    line = stream.readline()
    text = line[1:].decode("utf-8", "replace").strip()
    if not line.endswith(b"\n"):
        raise ConnectionError("it closed the connection")
    if line[:1] == b"-":
        raise (LockedOut if text.startswith(REFUSED) else RedisRefused)(text)
    if line[:1] == b"$":
        content = stream.read(int(text) + 2)
        if not content.endswith(b"\r\n"):
            raise ConnectionError("it closed the connection in the middle of an answer")
        return content[:-2].decode("utf-8", "replace")
    if line[:1] not in b"+:":
        raise ConnectionError(f"this is no answer of a Redis server: {line[:60]!r}")
    return text
