"""Clones a database from a template, with what ``CREATE DATABASE … TEMPLATE`` leaves out.

That is, says the manual's page of CREATE DATABASE, all that belongs to the database as a whole: its settings
(ALTER DATABASE … SET), grants, comment, connection limit and owner.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from psycopg2 import errors, sql

from containertest.reset.pg_catalog import read_sql
from containertest.sql.own import Literal
from containertest.wait import now, poll

#: Seconds to try again while somebody is connected to the template; PostgreSQL itself waits 5 s each time.
PATIENCE = 30.0

#: Bytes that a name may have; NAMEDATALEN in PostgreSQL's manual.
LONGEST = 63

#: Settings whose stored value is a list of quoted names: SET search_path = a, "b c". Source: GUC_LIST_QUOTE.
LISTS = {
    "search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries",
    "shared_preload_libraries", "unix_socket_directories",
}  # fmt: skip


@dataclass(frozen=True)
class Properties:
    """What belongs to a database as a whole."""

    acl: tuple[str, ...] | None
    connection_limit: int
    is_template: bool
    comment: str | None
    owner: str
    settings: tuple[str, ...]
    grants: tuple[str, ...]


def read_properties(cursor: Any, name: str) -> Properties:
    """Read what belongs to the database ``name`` as a whole."""
    cursor.execute(read_sql("pg_settings.sql"), (name,))
    acl, limit, is_template, comment, owner, settings, grants = cursor.fetchone()
    return Properties(
        None if acl is None else tuple(sorted(acl)), limit, is_template, comment, owner, tuple(settings), tuple(grants)
    )


def write_properties(cursor: Any, name: str, wanted: Properties) -> None:
    """Give the database ``name`` these properties; what it has of them already costs nothing."""
    now = read_properties(cursor, name)
    if now == wanted:
        return
    database = sql.Identifier(name)
    if now.owner != wanted.owner:
        cursor.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, sql.Identifier(wanted.owner)))
    if now.connection_limit != wanted.connection_limit:
        limit = sql.SQL(str(wanted.connection_limit))
        cursor.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(database, limit))
    if now.is_template != wanted.is_template:
        flag = sql.SQL(str(wanted.is_template))
        cursor.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE {}").format(database, flag))
    if now.comment != wanted.comment:
        comment = Literal(wanted.comment)
        cursor.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(database, comment))
    if now.settings != wanted.settings:
        _write_settings(cursor, database, now, wanted)
    if now.acl != wanted.acl:
        _write_grants(cursor, database, now, wanted)


def _write_settings(cursor: Any, database: sql.Identifier, now: Properties, wanted: Properties) -> None:
    for role in {json.loads(item)[0] for item in now.settings}:
        cursor.execute(sql.SQL("{} RESET ALL").format(_alter(database, role)))
    for role, name, value in map(json.loads, wanted.settings):
        # The stored value of a list is quoted already, as it was written.
        literal = sql.SQL(value or "''") if name.lower() in LISTS else Literal(value)
        cursor.execute(sql.SQL("{} SET {} = {}").format(_alter(database, role), _setting(name), literal))


def _setting(name: str) -> sql.Composable:
    return sql.SQL(".").join(map(sql.Identifier, name.split(".")))


def _alter(database: sql.Identifier, role: str | None) -> sql.Composable:
    if role is None:
        return sql.SQL("ALTER DATABASE {}").format(database)
    return sql.SQL("ALTER ROLE {} IN DATABASE {}").format(sql.Identifier(role), database)


def _write_grants(cursor: Any, database: sql.Identifier, now: Properties, wanted: Properties) -> None:
    # Without an acl these are the built-in defaults.
    default = (None, "CONNECT", False), (None, "TEMPORARY", False)
    grantees = {json.loads(item)[0] for item in (*now.grants, *wanted.grants)} | {None, wanted.owner}
    for grantee in grantees:
        cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM {} CASCADE").format(database, _role(grantee)))
    grants: list[Any] = [json.loads(item) for item in wanted.grants]
    if wanted.acl is None:
        grants = [*default, *((wanted.owner, privilege, False) for privilege in ("CREATE", "CONNECT", "TEMPORARY"))]
    for grantee, privilege, grantable in grants:
        option = sql.SQL(" WITH GRANT OPTION" if grantable else "")
        statement = sql.SQL("GRANT {} ON DATABASE {} TO {}{}")
        cursor.execute(statement.format(sql.SQL(privilege), database, _role(grantee), option))


def _role(name: str | None) -> sql.Composable:
    return sql.SQL("PUBLIC") if name is None else sql.Identifier(name)


def template_stem(name: str) -> str:
    """Return how the names of the template databases of the database ``name`` begin; a number follows."""
    return f"{_beside('ct_template', name)}_"


def spare_names(name: str) -> tuple[str, str]:
    """Return the names of a clone made ahead for the database ``name``, and of the database that it has replaced."""
    return _beside("ct_spare", name), _beside("ct_replaced", name)


def _beside(prefix: str, name: str) -> str:
    text = f"{prefix}_{name}"
    # PostgreSQL would cut a longer one, and make the same name of two.
    return text if len(text.encode()) <= LONGEST - 5 else f"{prefix}_{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def own_databases(cursor: Any, name: str) -> list[str]:
    """Return which there are of the database ``name``, its levels' templates and the clones made ahead for it."""
    names = [name, *spare_names(name)]
    cursor.execute(read_sql("pg_own.sql"), {"names": names, "stem": template_stem(name)})
    return [datname for (datname,) in cursor.fetchall()]


def end_creation(cursor: Any, name: str) -> None:
    """End what killed processes still have made for the database ``name``: nobody sees a database until it is there."""
    names = [str(sql.Identifier(own).as_string(cursor)) for own in (name, *spare_names(name))]
    begins = [*names, sql.Identifier(template_stem(name)).as_string(cursor)[:-1]]
    statement = read_sql("pg_creating.sql")

    def done() -> bool:
        cursor.execute(statement, {"begins": [f"CREATE DATABASE {begin}" for begin in begins]})
        return bool(cursor.fetchone()[0] == 0)

    poll(done, PATIENCE)


def drop_database(cursor: Any, name: str) -> None:
    """Drop a database and end all sessions in it, also if somebody has called it a template."""
    cursor.execute("SELECT FROM pg_database WHERE datname = %s AND datistemplate", (name,))
    if cursor.rowcount:
        cursor.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(sql.Identifier(name)))
    cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def strategy(cursor: Any) -> str:
    """How ``CREATE DATABASE`` is to copy.

    PostgreSQL 15 and later write each page to the log first, which takes twice as long. Copying files makes two
    checkpoints, which cost nothing where nobody waits for a disk: on servers of ours.

    Source: PostgreSQL manual, "CREATE DATABASE", STRATEGY.
    """
    if cursor.connection.server_version < 150000:
        return ""
    cursor.execute("SHOW fsync")
    return " STRATEGY file_copy" if cursor.fetchone() == ("off",) else ""


def clone_database(cursor: Any, template: str, name: str) -> None:
    """Create the database ``name`` from ``template``, with its properties.

    ``cursor`` is of an autocommit connection to another database. Nobody may be connected to the template.
    """
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}{}").format(
        sql.Identifier(name), sql.Identifier(template), sql.SQL(strategy(cursor))
    )
    deadline = now() + PATIENCE
    while True:
        try:
            cursor.execute(statement)
            break
        except errors.ObjectInUse:
            if now() > deadline:
                raise
    write_properties(cursor, name, read_properties(cursor, template))
