"""A schema of any number of tables with foreign keys, and writes to three of them that belong together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from containertest import ContainerManager, Postgres, Redis

#: Every so many-th table has reference rows, ten of them: 5 % of the tables.
REFERENCE = 20


def migration(tables: int) -> str:
    """Return the SQL for tables t0, t1, …: each three of them a parent, a child and a grandchild."""
    return "\n".join(_table(number) for number in range(tables))


def manager(folder: str, tables: int, redis: Redis | None = None) -> ContainerManager:
    """Return a manager, not started, of a PostgreSQL with that many tables; ``folder`` is for the migration's file."""
    file = Path(folder) / f"{tables}.sql"
    file.write_text(migration(tables), encoding="utf-8")
    # TRUNCATE of 1,000 tables with their indexes and sequences needs more locks than PostgreSQL has by default.
    postgres = Postgres(options={"max_locks_per_transaction": 256})
    return ContainerManager(postgres, redis, migrations=file, backend="local")


def _table(number: int) -> str:
    columns = ["id serial PRIMARY KEY", "name text NOT NULL", "price numeric(10, 2)", "made timestamptz DEFAULT now()"]
    if number >= 3:
        columns.append(f"root int REFERENCES t{number - 3}")
    if number % 3:
        columns.append(f"parent int REFERENCES t{number - 1}")
    sql = f"CREATE TABLE t{number} ({', '.join(columns)});"
    if number % REFERENCE == 9:
        sql += f"INSERT INTO t{number} (name) SELECT 'reference ' || i FROM generate_series(1, 10) i;"
    return sql


def write(cursor: Any, first: int, tables: int) -> None:
    """Insert a row each into the tables ``first``, its child and its grandchild, as far as there are such."""
    parent = None
    for number in range(first, min(first + 3, tables)):
        columns, values = ("name", (f"name {number}",)) if parent is None else ("name, parent", ("child", parent))
        places = ", ".join(["%s"] * len(values))
        cursor.execute(f"INSERT INTO t{number} ({columns}) VALUES ({places}) RETURNING id", values)
        (parent,) = cursor.fetchone()
