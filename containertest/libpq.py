"""The environment variables of libpq, PostgreSQL's client library: which there are, and how to put them out of force.

People have them set for other servers. Left in force they lead a connection elsewhere (``PGHOSTADDR`` goes before the
host that is named, a service's host before ``PGHOST``), keep it from getting in, or change how its session behaves.

Source: libpq's own list, ``PQconndefaults``, with which a test compares `VARIABLES`; the manual, "Environment
Variables"; and experiments, since the values that mean "nothing" differ: empty is an error for some.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "VARIABLES",
    "Variable",
    "admission",
    "forget",
    "keywords",
    "keywords_of_url",
    "put_out_of_force",
    "set_aside",
]

#: Known to each libpq that may be met.
ALWAYS = 13


class Variable(NamedTuple):
    """An environment variable of libpq.

    :param keyword: of connection strings, which goes before the variable; "" if there is none.
    :param neutral: the value by which variable and keyword do nothing.
    :param admits: whether it says how to get into a server, not which server or what its sessions are like.
    :param since: the version of libpq that knows the keyword; older ones refuse it.
    """

    name: str
    keyword: str = ""
    neutral: str = ""
    admits: bool = False
    since: int = ALWAYS


#: A service can't be no service: "" is looked for too. This one says nothing, and stands in a file of ours.
SERVICE = Variable("PGSERVICE", neutral="containertest")
SERVICE_FILE = Variable("PGSERVICEFILE", neutral=str(Path(__file__).with_suffix(".conf")))

VARIABLES = (
    Variable("PGHOST", "host"),
    Variable("PGHOSTADDR", "hostaddr"),
    Variable("PGPORT", "port"),
    Variable("PGDATABASE", "dbname"),
    Variable("PGUSER", "user", admits=True),
    Variable("PGPASSWORD", "password", admits=True),
    Variable("PGPASSFILE", "passfile", admits=True),
    SERVICE,
    SERVICE_FILE,
    Variable("PGSYSCONFDIR"),
    Variable("PGOPTIONS", "options", " "),  # not "", which SQLAlchemy leaves out of a URL, here and below
    Variable("PGAPPNAME", "application_name"),
    Variable("PGCLIENTENCODING", "client_encoding", "UTF8"),
    Variable("PGCONNECT_TIMEOUT", "connect_timeout", "0"),
    Variable("PGTARGETSESSIONATTRS", "target_session_attrs", "any"),
    Variable("PGLOADBALANCEHOSTS", "load_balance_hosts", "disable", since=16),
    Variable("PGMINPROTOCOLVERSION", "min_protocol_version", "3.0", since=18),
    Variable("PGMAXPROTOCOLVERSION", "max_protocol_version", "latest", since=18),
    Variable("PGCHANNELBINDING", "channel_binding", "prefer", admits=True),
    Variable("PGREQUIREAUTH", "require_auth", "none,password,md5,scram-sha-256,gss,sspi", admits=True, since=16),
    Variable("PGREQUIREPEER", "requirepeer", admits=True),
    Variable("PGSSLMODE", "sslmode", "prefer", admits=True),
    Variable("PGREQUIRESSL", "sslmode", "prefer"),  # the variable counts only where it begins with 1
    Variable("PGSSLNEGOTIATION", "sslnegotiation", "postgres", admits=True, since=17),
    Variable("PGSSLCOMPRESSION", "sslcompression", "0", admits=True),
    Variable("PGSSLCERT", "sslcert", admits=True),
    Variable("PGSSLKEY", "sslkey", admits=True),
    Variable("PGSSLCERTMODE", "sslcertmode", "allow", admits=True, since=16),
    Variable("PGSSLROOTCERT", "sslrootcert", " ", admits=True),  # no such file, which does when none is required
    Variable("PGSSLCRL", "sslcrl", admits=True),
    Variable("PGSSLCRLDIR", "sslcrldir", admits=True, since=14),
    Variable("PGSSLSNI", "sslsni", "1", admits=True, since=14),
    Variable("PGSSLMINPROTOCOLVERSION", "ssl_min_protocol_version", "TLSv1.2", admits=True),
    Variable("PGSSLMAXPROTOCOLVERSION", "ssl_max_protocol_version", "TLSv1.3", admits=True),
    Variable("PGGSSENCMODE", "gssencmode", "prefer", admits=True),
    Variable("PGKRBSRVNAME", "krbsrvname", "postgres", admits=True),
    Variable("PGGSSLIB", "gsslib", admits=True),
    Variable("PGGSSDELEGATION", "gssdelegation", "0", admits=True, since=17),
    Variable("PGTZ", neutral="default"),
    Variable("PGDATESTYLE", neutral="default"),
    Variable("PGGEQO", neutral="default"),
    Variable("PGLOCALEDIR"),
    Variable("PGOAUTHDEBUG"),
)
#: Further keywords that a service may set, to do something else than a plain connection.
OF_SERVICES = (Variable("", "replication", "false"),)

#: Without a keyword, but heeded by each connection.
_WITHOUT_KEYWORD = tuple(it for it in VARIABLES if it.name in ("PGSERVICE", "PGTZ", "PGDATESTYLE", "PGGEQO"))


def _in_force() -> list[Variable]:
    """The variables that are set and do something; without any, which is usual, this takes some microseconds."""
    return [it for it in VARIABLES if it.name in os.environ and os.environ[it.name] != it.neutral]


def _is_known(variable: Variable) -> bool:
    """Whether psycopg2's libpq knows the keyword."""
    if variable.since <= ALWAYS:
        return True
    from psycopg2.extensions import libpq_version

    return libpq_version() >= variable.since * 10000


def keywords(given: Collection[str]) -> dict[str, str]:
    """The connection keywords that put the variables out of force that are in force now, for psycopg2.

    :param given: keywords that are given explicitly, and therefore need nothing.
    """
    return _neutral([it for it in _in_force() if _is_known(it)], given)


def keywords_of_url(given: Collection[str], *, any_client: bool) -> dict[str, str]:
    """The same for a URL, which can't put ``PGSERVICE`` out of force, but what its service may set.

    :param any_client: whether programs get it whose libpq may be older than psycopg2's.
    """
    found = [it for it in _in_force() if (it.since <= ALWAYS if any_client else _is_known(it))]
    if SERVICE in found:
        found += [it for it in (*VARIABLES, *OF_SERVICES) if it.since <= ALWAYS]
    # What is neutral when it is empty has no effect on a plain connection either.
    return {name: value for name, value in _neutral(found, given).items() if value or name == "hostaddr"}


def _neutral(variables: Iterable[Variable], given: Collection[str]) -> dict[str, str]:
    return {it.keyword: it.neutral for it in variables if it.keyword and it.keyword not in given}


class _Aside:
    """The variables that are taken out of this process' environment, while somebody needs them out."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.kept: dict[str, str] = {}

    def enter(self) -> None:
        with self.lock:
            self.users += 1
            found = [it for it in _WITHOUT_KEYWORD if os.environ.get(it.name, it.neutral) != it.neutral]
            self.kept.update({it.name: os.environ.pop(it.name) for it in found})

    def leave(self) -> None:
        """The last one puts them back: another thread may be in the middle of connecting."""
        with self.lock:
            self.users -= 1
            if self.users == 0:
                self.put_back()

    def put_back(self) -> None:
        for name, value in self.kept.items():
            os.environ.setdefault(name, value)
        self.kept = {}


#: A process has one environment.
_aside = _Aside()


def _after_fork() -> None:
    global _aside
    _aside.put_back()
    _aside = _Aside()


os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def set_aside() -> Iterator[None]:
    """Take the variables that have no keyword out of this process' environment for a moment.

    Only these: another thread may connect at the same time by its ``PGHOST``.
    """
    aside = _aside  # a child made by a fork meanwhile has another one
    aside.enter()
    try:
        yield
    finally:
        aside.leave()


def admission() -> dict[str, str]:
    """What the environment says of how to get into a server, by keyword: for a server of somebody else.

    Nothing that leads elsewhere or changes how its sessions behave.
    """
    found = {it.keyword: os.environ[it.name] for it in VARIABLES if it.admits and it.name in os.environ}
    if os.environ.get("PGREQUIRESSL", "").startswith("1"):
        found.setdefault("sslmode", "require")
    return {it.keyword: found[it.keyword] for it in VARIABLES if found.get(it.keyword) and _is_known(it)}


def put_out_of_force(parameters: Mapping[str, str]) -> dict[str, str]:
    """What a program's environment needs above this process' own: neutral values of all variables that are set here.

    :param parameters: keywords that its connections need; those that have a variable get their value instead.
    """
    found = {it.name: it.neutral for it in VARIABLES if it.name in os.environ}
    if SERVICE.name in found:
        found[SERVICE_FILE.name] = SERVICE_FILE.neutral
    needed = {it.name: parameters[it.keyword] for it in VARIABLES if it.keyword in parameters}
    needed.pop("PGREQUIRESSL", None)  # PGSSLMODE says it
    return {**found, **needed}


def forget() -> None:
    """Take all variables out of this process' environment, and so out of that of what it runs."""
    for it in VARIABLES:
        os.environ.pop(it.name, None)
