"""Two full dumps of a database, to compare before and after: by pg_dump, and by its own catalogs, which is faster."""

from __future__ import annotations

import contextlib
import functools
import glob
import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.integration.reset_server import TestDatabase, binaries

#: What VACUUM, ANALYZE, rewriting and the passing of time change, and nobody means by a schema.
PASSING = [
    *("relfilenode", "relpages", "reltuples", "relallvisible", "relallfrozen", "relfrozenxid", "relminmxid"),
    *("relhassubclass", "relhasindex", "relhasrules", "relhastriggers", "reltoastrelid", "indcheckxmin"),
]

#: Columns that tell users' objects from the system's; a catalog with none of them is left out.
OWNERS = [
    *("oid", "attrelid", "adrelid", "indexrelid", "inhrelid", "objid", "objoid", "seqrelid", "mapcfg", "ftrelid"),
    *("partrelid", "aggfnoid", "rngtypid", "prrelid"),
]

CATALOGS = """
    SELECT format('pg_catalog.%%I', c.relname), min(a.attname) FILTER (WHERE a.attname = ANY (%(owners)s)),
        string_agg(format('%%I', a.attname), ', ' ORDER BY a.attname) FILTER (WHERE a.attname <> ALL (%(passing)s))
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind = 'r' AND NOT c.relisshared
        AND c.relname NOT IN ('pg_statistic', 'pg_statistic_ext_data') AND a.attnum > 0 AND NOT a.attisdropped
    GROUP BY c.relname
"""

#: A session's first temporary object makes schemas that are used again by others; our triggers come and go.
SKIPPED = {
    "pg_catalog.pg_namespace": "AND nspname !~ '^pg_(toast_)?temp_'",
    "pg_catalog.pg_trigger": r"AND tgname NOT LIKE 'containertest\_%'",
    "pg_catalog.pg_depend": "AND (classid <> 'pg_trigger'::regclass OR objid NOT IN"
    r" (SELECT oid FROM pg_trigger WHERE tgname LIKE 'containertest\_%'))",
}

#: What no catalog of the database has.
SHARED = """
    SELECT 'database ' || concat_ws(' ', datdba, datconnlimit, datallowconn, datistemplate,
        coalesce(datacl, acldefault('d', datdba))) FROM pg_database WHERE datname = current_database()
    UNION ALL SELECT 'setting ' || s.setrole || s.setconfig::text
        FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase WHERE d.datname = current_database()
    UNION ALL SELECT 'comment ' || shobj_description(oid, 'pg_database')
        FROM pg_database WHERE datname = current_database()
    UNION ALL SELECT 'subscription ' || subname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
        WHERE d.datname = current_database()
    UNION ALL SELECT 'prepared ' || gid FROM pg_prepared_xacts WHERE database = current_database()
    UNION ALL SELECT 'large object ' || loid || ' ' || pageno || ' ' || md5(data) FROM pg_largeobject
"""

RELATIONS = """
    SELECT format('%I.%I', n.nspname, c.relname), c.relkind
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm', 'S') AND c.relpersistence <> 't' AND c.relispopulated
        AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'containertest')
"""


def catalog_dump(database: TestDatabase, *, brief: bool = False) -> list[str]:
    """Return all of a database, from its catalogs, its tables, sequences and large objects, oids included.

    ``brief`` returns a hash for each catalog and table, which is much faster.
    """
    with contextlib.closing(database.connect(user="tester")) as connection, connection.cursor() as cursor:
        cursor.execute("SET jit = off")
        cursor.execute(_query(cursor, brief))
        return sorted(line for (line,) in cursor.fetchall() if line)


def _query(cursor, brief: bool) -> str:
    cursor.execute(CATALOGS, {"owners": OWNERS, "passing": PASSING})
    queries = [SHARED]
    for name, owner, columns in cursor.fetchall():
        if owner:
            source = f"SELECT ROW({columns})::text AS line FROM {name} WHERE {owner} >= 16384 {SKIPPED.get(name, '')}"
            queries.append(_lines(f"'{name} '", source, brief))
    cursor.execute(RELATIONS)
    for name, kind in cursor.fetchall():
        title = cursor.mogrify("%s", (f"{name} ",)).decode()
        columns = "ROW(last_value, is_called)" if kind == "S" else "row_"
        queries.append(_lines(title, f"SELECT {columns}::text AS line FROM ONLY {name} row_", brief))
    return " UNION ALL ".join(queries)


def _lines(title: str, source: str, brief: bool) -> str:
    if brief:
        return f"SELECT {title} || count(*) || ' ' || sum(hashtextextended(line, 0)) FROM ({source}) lines"
    return f"SELECT {title} || line FROM ({source}) lines"


@functools.cache
def pg_dump() -> Path | None:
    """Return the newest pg_dump of this machine, which dumps older servers too; None if there is none."""
    places = [
        str(binaries() / "pg_dump"),
        *glob.glob("/usr/lib/postgresql/*/bin/pg_dump"),
        shutil.which("pg_dump") or "",
    ]
    found = {path: _version(path) for path in places if path and os.access(path, os.X_OK)}
    return Path(max(found, key=found.__getitem__)) if found else None


def _version(program: str) -> int:
    shown = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return int(re.findall(r"\d+", shown)[0])


def can_dump(database: TestDatabase) -> bool:
    """Whether this machine has a pg_dump that is new enough for the server."""
    program = pg_dump()
    return program is not None and _version(str(program)) >= database.connection.server_version // 10000


def dump(database: TestDatabase, name: str | None = None, *options: str) -> str:
    """Return all of a database as pg_dump writes it, rows sorted, with the contents of materialized views."""
    name = name or database.name
    result = subprocess.run(
        [str(pg_dump()), *(options or ("--create", "--exclude-schema=containertest")), name],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **database.server.environment},
    )
    return "\n".join([*_sort_rows(result.stdout), *_views(database.connect(name, user="tester"))])


def _sort_rows(text: str) -> list[str]:
    lines, rows = [], None
    for line in text.splitlines():
        if line.startswith(("\\restrict", "\\unrestrict")):
            continue
        if rows is None:
            lines.append(line)
            rows = [] if line.startswith("COPY ") else None
        elif line == "\\.":
            lines += [*sorted(rows), line]
            rows = None
        else:
            rows.append(line)
    return lines


def _views(connection) -> list[str]:
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("SELECT oid::regclass::text, relispopulated FROM pg_class WHERE relkind = 'm' ORDER BY 1")
        found = cursor.fetchall()
        lines = []
        for view, populated in found:
            lines.append(f"{view} {populated}")
            if populated:
                cursor.execute(f"SELECT v::text FROM {view} v ORDER BY 1")
                lines += [row for (row,) in cursor.fetchall()]
    return lines
