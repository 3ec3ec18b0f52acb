"""What a statement that writes pays for being noted: the same statements with and without containertest's triggers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial

from benchmarks import schema
from benchmarks.measure import Alternative, duration, in_turns, on_one_processor, table
from benchmarks.reset import OtherDatabase, other_database, where
from containertest import ContainerManager

TABLES = 100
ROUNDS = 2000

#: t60 has no rows in the baseline, t69 is one of the tables with reference rows.
STATEMENTS = {
    "INSERT of a row": "INSERT INTO t60 (name, price) VALUES ('a', 5)",
    "INSERT of a row, RETURNING": "INSERT INTO t60 (name, price) VALUES ('a', 5) RETURNING id",
    "INSERT of a child row": "INSERT INTO t70 (name, parent) VALUES ('a', 1)",
    "INSERT of 10 rows": "INSERT INTO t60 (name) SELECT 'a' FROM generate_series(1, 10)",
    "INSERT of 100 rows": "INSERT INTO t60 (name) SELECT 'a' FROM generate_series(1, 100)",
    "INSERT three times in a transaction": "BEGIN;" + "INSERT INTO t60 (name) VALUES ('a');" * 3 + "COMMIT",
    "INSERT into a table with reference rows": "INSERT INTO t69 (name) VALUES ('a')",
    "UPDATE of a row": "UPDATE t60 SET price = 6 WHERE id = 1",
    "UPDATE of a reference row": "UPDATE t69 SET price = 6 WHERE id = 1",
    "DELETE that finds no row": "DELETE FROM t60 WHERE id = 2",
}


def main() -> None:
    """Measure and print a table."""
    with on_one_processor(), tempfile.TemporaryDirectory() as folder, schema.manager(folder, TABLES) as manager:
        with other_database(manager, TABLES) as plain:
            print(f"{where(manager)}\n")
            rows = list(_rows(manager, plain))
    print(table([("one message, autocommit", "without", "with", "difference", "of it"), *rows]))


def _rows(manager: ContainerManager, plain: OtherDatabase) -> Iterator[tuple[str, ...]]:
    ours = manager.postgres.connection.cursor().execute
    for name, statement in STATEMENTS.items():
        # Both begin with what a test finds, and a row of its own.
        manager.reset_database()
        plain.clone()
        for execute in (ours, plain.execute):
            execute("INSERT INTO t60 (name) VALUES ('first')")
        both = [
            Alternative("without", partial(plain.execute, statement)),
            Alternative("with", partial(ours, statement)),
        ]
        found = in_turns(both, ROUNDS, mixed=True)
        before, after = found["without"].median, found["with"].median
        yield name, duration(before), duration(after), f"{(after - before) * 1e6:.1f} µs", f"{after / before - 1:.1%}"
