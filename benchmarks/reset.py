"""What it costs to start each test from the same data: the ways to do it, on schemas of several sizes."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_postgresql.janitor import DatabaseJanitor

from benchmarks import chart, schema
from benchmarks.measure import Alternative, duration, in_turns, on_one_processor, table
from containertest import ContainerManager

SIZES = (1, 10, 100, 1000)
CHART = Path(__file__).with_name("reset.svg")

SELECT = "SELECT 1"
NOTHING = "reset, nothing written"
SAME = "reset, 3 tables"
OTHERS = "reset, 3 other tables each time"
ROLLBACK = "ROLLBACK"
DELETE = "DELETE of all tables"
TRUNCATE = "TRUNCATE of all tables"
CLONE = "drop and clone"
DDL = "reset, DDL in the test"
JANITOR = "new clone by pytest-postgresql"

#: What the chart shows.
DRAWN = (SAME, NOTHING, SELECT, ROLLBACK, DELETE, TRUNCATE, CLONE)


def main() -> None:
    """Measure, print the tables, draw the chart."""
    with on_one_processor():
        measured = {size: measure(size) for size in SIZES}
    results = {size: found for size, (_, found) in measured.items()}
    place = measured[SIZES[0]][0]
    print(f"{place}\n")
    print(table([("median; tables:", *map(str, SIZES)), *_rows(results, lambda found: found.median)]), "\n")
    print(table([("least; tables:", *map(str, SIZES)), *_rows(results, lambda found: found.least)]), "\n")
    print(table([("ratio of medians; tables:", *map(str, SIZES)), *_ratios(results)]))
    lines = {name: [found[name].median for found in results.values()] for name in DRAWN}
    title = "Back to the same data before the next test"
    note = f"Median, logarithmic. {place}."
    CHART.write_text(chart.draw(title, note, SIZES, lines, (SAME, NOTHING)), encoding="utf-8")


def measure(size: int) -> tuple[str, dict[str, Alternative]]:
    """Return what it was measured on, and the alternatives at this number of tables, by name."""
    with (
        tempfile.TemporaryDirectory() as folder,
        schema.manager(folder, size) as manager,
        other_database(manager, size) as plain,
    ):
        rounds = 200 if size < 1000 else 100
        return where(manager), in_turns(list(_alternatives(manager, plain, size)), rounds)


def _alternatives(manager: ContainerManager, plain: OtherDatabase, size: int) -> Iterator[Alternative]:
    ours = Ours(manager)
    groups = range(0, size, 3)
    same = groups[len(groups) // 2]
    names = [f"t{number}" for number in range(size)]
    truncate = f"TRUNCATE {', '.join(names)} RESTART IDENTITY CASCADE"
    delete = ";".join(f"DELETE FROM {name}" for name in reversed(names))

    def begin() -> None:
        plain.execute("BEGIN")
        plain.write(same)

    rarely = 5 if size < 1000 else 10
    yield Alternative(SELECT, lambda: ours.cursor.execute("SELECT 1"))
    yield Alternative(SAME, manager.reset_database, lambda: schema.write(ours.cursor, same, size))
    yield Alternative(OTHERS, manager.reset_database, lambda: schema.write(ours.cursor, random.choice(groups), size))
    yield Alternative(NOTHING, manager.reset_database, lambda: ours.cursor.execute("SELECT 1"))
    yield Alternative(ROLLBACK, lambda: plain.execute("ROLLBACK"), begin)
    yield Alternative(DELETE, lambda: plain.execute(delete), lambda: plain.write(same), rarely)
    yield Alternative(TRUNCATE, lambda: plain.execute(truncate), lambda: plain.write(same), rarely)
    yield Alternative(CLONE, plain.clone, lambda: plain.write(same), 2 * rarely)
    yield Alternative(JANITOR, plain.clone_by_janitor, lambda: plain.write(same), 2 * rarely)
    yield Alternative(DDL, ours.reset, lambda: ours.cursor.execute("CREATE TABLE made (i int)"), 2 * rarely)


class Ours:
    """The manager's database, with a cursor that is kept as long as the connection."""

    def __init__(self, manager: ContainerManager) -> None:
        self._manager = manager
        self.cursor = manager.postgres.connection.cursor()

    def reset(self) -> None:
        """Reset the database and connect again, as after a test with DDL."""
        self._manager.reset_database()
        self.cursor = self._manager.postgres.connection.cursor()


class OtherDatabase:
    """A database of the same schema on the same server, without anything of ours."""

    def __init__(self, admin: Any, connect: Callable[..., Any], size: int, janitor: DatabaseJanitor) -> None:
        self._admin, self._connect, self._size, self._janitor = admin, connect, size, janitor
        admin.execute("CREATE DATABASE bench_template")
        template = connect("bench_template")
        template.cursor().execute(schema.migration(size))
        template.close()
        admin.execute("CREATE DATABASE bench TEMPLATE bench_template")
        self._open()

    def _open(self) -> None:
        self.connection = self._connect("bench")
        cursor = self.connection.cursor()
        self.execute = cursor.execute
        self.write = lambda first: schema.write(cursor, first, self._size)

    def clone(self) -> None:
        """Drop the database, clone it from its template and connect again."""
        self.connection.close()
        self._admin.execute("DROP DATABASE bench WITH (FORCE)")
        self._admin.execute("CREATE DATABASE bench TEMPLATE bench_template")
        self._open()

    def clone_by_janitor(self) -> None:
        """The same as pytest-postgresql's fixtures do it for each test."""
        self.connection.close()
        self._janitor.drop()
        self._janitor.init()
        self._open()

    def drop(self) -> None:
        """Drop it and its template."""
        self.connection.close()
        self._admin.execute("DROP DATABASE bench")
        self._admin.execute("DROP DATABASE bench_template")


@contextmanager
def other_database(manager: ContainerManager, size: int) -> Iterator[OtherDatabase]:
    """Make the other database on the manager's server; drop it in the end."""

    def connect(dbname: str) -> Any:
        connection = manager.postgres.connect(dbname)
        connection.autocommit = True
        return connection

    server = manager.postgres
    janitor = DatabaseJanitor(
        user=server.username,
        host=server.host,
        port=server.port,
        password=server.password,
        dbname="bench",
        template_dbname="bench_template",
    )
    admin = connect("postgres")
    database = OtherDatabase(admin.cursor(), connect, size, janitor)
    try:
        yield database
    finally:
        database.drop()
        admin.close()


def where(manager: ContainerManager) -> str:
    """Return what it is measured on: PostgreSQL's version and settings, the data's file system."""
    cursor = manager.postgres.connection.cursor()
    cursor.execute("SELECT current_setting('data_directory'), current_setting('fsync')")
    folder, fsync = cursor.fetchone()
    return f"PostgreSQL {manager.postgres.version}, fsync {fsync}, data on {file_system(folder)}"


def file_system(folder: str) -> str:
    """Return the type of the file system that a folder is on: "tmpfs", "ext4", …; "unknown" but on Linux."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    fitting = [(len(place), kind) for place, kind in mounts if Path(folder).is_relative_to(place)]
    return max(fitting)[1]


def _rows(
    results: dict[int, dict[str, Alternative]], value: Callable[[Alternative], float]
) -> Iterator[tuple[str, ...]]:
    for name in next(iter(results.values())):
        yield (name, *(duration(value(found[name])) for found in results.values()))


def _ratios(results: dict[int, dict[str, Alternative]]) -> Iterator[tuple[str, ...]]:
    for name, base in ((SAME, SELECT), (OTHERS, SELECT), (NOTHING, SELECT), (ROLLBACK, SELECT)):
        ratios = (found[name].median / found[base].median for found in results.values())
        yield (f"{name} / {base}", *(f"{ratio:.1f}" for ratio in ratios))
    for name, base in ((DELETE, SAME), (TRUNCATE, SAME), (CLONE, SAME), (CLONE, DDL), (JANITOR, DDL)):
        ratios = (found[name].median / found[base].median for found in results.values())
        yield (f"{name} / {base}", *(f"{ratio:.0f}" if base == SAME else f"{ratio:.1f}" for ratio in ratios))
