"""How we get into a PostgreSQL server, and what is told of one that does not let us in.

psycopg2 is imported where it is first needed: importing this module costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from containertest import libpq
from containertest.errors import BackendUnavailable
from containertest.services.common import Met
from containertest.spec import Endpoint
from containertest.wait import Refusal

if TYPE_CHECKING:
    import psycopg2.extensions

__all__ = ["MINIMUM", "connect", "meet", "probe"]

#: The lowest major version that works.
MINIMUM = 13
#: What a server says, or libpq of it, that does not let us in; of our servers, and of libpq here, in English.
REFUSED = re.compile(
    r"authentication failed|authentication method|pg_hba\.conf|does not exist|not permitted to log in|permission denied"
    r"|not currently accepting connections|server does not support|SSL error|certificate|channel binding|GSSAPI"
    r"|session is |invalid .*(value|option|parameter)|unrecognized configuration parameter|requires a Boolean"
    r"|definition of service|service file"
)
#: Classes of SQLSTATE that pass: lost connections, resources, a server that starts or shuts down.
PASSING = ("08", "53", "57")


def connect(endpoint: Endpoint, dbname: str | None = None, **kwargs: Any) -> psycopg2.extensions.connection:
    """Open a connection to ``endpoint``, whatever libpq's environment variables say.

    :param kwargs: psycopg2's; they win. With a ``service``, what it sets wins too, except for the address.
    :raises psycopg2.OperationalError: as psycopg2 does.
    """
    import psycopg2

    given: dict[str, Any] = {
        "host": endpoint.host,
        "port": endpoint.port,
        "user": endpoint.username,
        "password": endpoint.password,
        "dbname": dbname or endpoint.database,
        "connect_timeout": 30,
        **endpoint.parameters,
        **kwargs,
    }
    arguments = {name: value for name, value in given.items() if value is not None}
    if "service" not in arguments:
        arguments |= libpq.keywords(arguments)
    with libpq.set_aside():
        connection: psycopg2.extensions.connection = psycopg2.connect(**arguments)
    return connection


@contextmanager
def _telling_refusals() -> Iterator[None]:
    """Raise `Refusal` for those of psycopg2's errors that waiting does not change."""
    import psycopg2

    try:
        yield
    except psycopg2.ProgrammingError as error:  # an unknown parameter, or a statement of ours that is refused
        raise Refusal(str(error)) from error
    except psycopg2.Error as error:
        # psycopg2 has a code only where there was a connection.
        if (error.pgcode[:2] in PASSING) if error.pgcode else not REFUSED.search(str(error)):
            raise
        raise Refusal(str(error)) from error


def probe(endpoint: Endpoint) -> None:
    """Connect and say goodbye; raises while the server is not ready.

    :raises Refusal: if it will never be, for this endpoint.
    """
    with _telling_refusals():
        connect(endpoint, connect_timeout=2).close()


def meet(endpoint: Endpoint, password: str | None, title: str = "PostgreSQL") -> Met:
    """Connect, and give the superuser the run's ``password`` where the server runs on data made with another one.

    :return: with the connection, in autocommit mode: who comes next needs one.
    :raises BackendUnavailable: if the server is older than `MINIMUM`.
    :raises Refusal: if it does not let us in, which waiting does not change.
    :raises psycopg2.OperationalError: while the server is not ready.
    """
    with _telling_refusals():
        connection = connect(endpoint, connect_timeout=2)
        try:
            return _met(connection, endpoint, password, title)
        except BaseException:
            connection.close()
            raise


def _met(connection: psycopg2.extensions.connection, endpoint: Endpoint, password: str | None, title: str) -> Met:
    connection.autocommit = True
    text = str(connection.get_parameter_status("server_version")).split()[0]
    if connection.server_version < MINIMUM * 10000:
        raise BackendUnavailable(
            f"{title} at {endpoint.host}:{endpoint.port} is version {text}, but {MINIMUM} or newer is needed.\n"
            "Name a newer image in CONTAINERTEST_POSTGRES_IMAGE, a newer server in CONTAINERTEST_POSTGRES_URL,\n"
            "or newer programs in CONTAINERTEST_POSTGRES_BIN."
        )
    if password != endpoint.password:
        _change_password(connection, password)
    return Met(replace(endpoint, password=password), text, connection)


def _change_password(connection: psycopg2.extensions.connection, password: str | None) -> None:
    from containertest.services.scram import verifier
    from containertest.sql.own import own_cursor

    secret = verifier(password) if password and password.isascii() else password  # others are normalised first
    with own_cursor(connection) as cursor:
        # A server logs a statement that fails, is slow or, as it is told to, any; its log is shown in messages. This
        # silences it for the session, whatever its other settings, and is a message of its own, since a message is
        # logged as a whole.
        cursor.execute("SET log_min_messages = panic")
        cursor.execute("ALTER ROLE CURRENT_USER PASSWORD %s", (secret,))
        cursor.execute("RESET log_min_messages")
