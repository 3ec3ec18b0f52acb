"""One connection of our own to a Redis server: many commands, one round trip, raw replies."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..errors import ResetError

Command = tuple[Any, ...]

#: How often each command was run; the connections there are.
CALLS: Command = ("INFO", "commandstats")
LIST: Command = ("CLIENT", "LIST")


class BeyondRepair(ResetError):
    """Redis can't be reached or gives no answer: only a new server helps, where it is ours."""


class Refused(BeyondRepair):
    """It answers, but with an error to something that a reset needs."""


class Wire:
    """A connection beside a client's pool, made with its settings, that no test can leave in an odd state.

    Replies are bytes, integers, lists or, for an error, ``redis.ResponseError``. ``timeout`` is how many seconds
    to wait for a reply.
    """

    def __init__(self, client: redis.Redis, timeout: float) -> None:
        pool = client.connection_pool
        changed = {
            "retry": Retry(NoBackoff(), 0),
            "decode_responses": False,
            "client_name": None,
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "health_check_interval": 0,
            "protocol": 2,
        }
        self._kwargs = {**plain_settings(client), **changed}
        self._class = pool.connection_class
        self._timeout = timeout
        self._connection: Any = None
        self._process = 0
        self._posted: list[Command] = []
        #: The last commands as they were sent: most often the next ones are the same.
        self._packed: tuple[list[Command], Any] = ([], [])
        #: How often it was connected anew: what was known of the server may not hold any more.
        self.connects = 0

    def post(self, commands: Sequence[Command]) -> None:
        """Send the commands now; the next ``send()``, if it is of the same commands, only reads the replies.

        Raises nothing: where this fails, ``send()`` tries it anew.
        """
        try:
            self._write(self._connected(), commands)
            self._posted = list(commands)
        except (redis.RedisError, OSError):
            self.close()

    def send(self, commands: Sequence[Command]) -> list[Any]:
        """Send the commands, return their replies. A connection that was closed is opened again.

        Raises BeyondRepair when Redis can't be reached or doesn't answer.
        """
        try:
            try:
                return self._round_trip(commands)
            except redis.TimeoutError:
                raise
            except (redis.ConnectionError, OSError):
                self.close()  # a test may have ended it with CLIENT KILL
                return self._round_trip(commands)
        except redis.TimeoutError as problem:
            self.close()
            raise BeyondRepair(
                f"Redis gave no answer within {self._timeout:g} s. A test may have left it in CLIENT PAUSE, "
                "which nothing can end before its time, in DEBUG SLEEP, in a script that doesn't end, or stopped."
            ) from problem
        except (redis.RedisError, OSError) as problem:
            self.close()
            raise BeyondRepair(f"Redis can't be reached to reset it: {problem}") from problem

    def close(self) -> None:
        """Close the connection; the next ``send`` opens another."""
        connection, self._connection = self._connection, None
        self._posted = []
        if connection is not None and self._process == os.getpid():
            with contextlib.suppress(redis.RedisError, OSError):
                connection.disconnect()

    def _round_trip(self, commands: Sequence[Command]) -> list[Any]:
        connection = self._connected()
        if not self._posted:
            self._write(connection, commands)
        elif self._posted != list(commands):  # the replies to others are on their way
            self.close()
            return self._round_trip(commands)
        self._posted = []
        return [_reply(connection) for _ in commands]

    def _write(self, connection: Any, commands: Sequence[Command]) -> None:
        if self._packed[0] != commands:
            self._packed = (list(commands), connection.pack_commands(commands))
        connection.send_packed_command(self._packed[1], check_health=False)

    def _connected(self) -> Any:
        if self._connection is None or self._process != os.getpid():
            self._posted = []
            self._connection = self._class(**self._kwargs)
            self._process = os.getpid()
            self._connection.connect()
            self.connects += 1
        return self._connection


def plain_settings(client: redis.Redis) -> dict[str, Any]:
    """Return the settings of a client's connections, but for what ties them to its pool."""
    left_out = ("maint_notifications_config", "maint_notifications_pool_handler")
    return {name: value for name, value in client.connection_pool.connection_kwargs.items() if name not in left_out}


def _reply(connection: Any) -> Any:
    try:
        return connection.read_response(disable_decoding=True)
    except redis.ResponseError as problem:
        return problem
