"""What a suite of 1,000 small tests pays for isolation, next to the same tests without any."""

from __future__ import annotations

import statistics
import tempfile
import time
import unittest
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import schema
from benchmarks.measure import duration, on_one_processor, table
from benchmarks.reset import other_database
from containertest import ContainerManager, IntegrationTestCase, PostgresTestCase, Redis

TABLES = 100
TESTS = 1000
#: So many tests are run in a row before the next alternative has its turn.
TURN = 50

PLAIN = "plain TestCase"
POSTGRES = "PostgresTestCase"
BOTH = "IntegrationTestCase"


def three(case: Any) -> None:
    """Three statements."""
    with case.db.cursor() as cursor:
        cursor.execute("INSERT INTO t60 (name, price) VALUES (%s, %s) RETURNING id", ("a", 5))
        (number,) = cursor.fetchone()
        cursor.execute("UPDATE t60 SET price = price * 2 WHERE id = %s", (number,))
        cursor.execute("SELECT name, price FROM t60 WHERE id = %s", (number,))
        case.assertEqual(cursor.fetchone(), ("a", 10))


def fourteen(case: Any) -> None:
    """Fourteen statements, on three tables."""
    with case.db.cursor() as cursor:
        for _ in range(2):
            schema.write(cursor, 60, TABLES)
        cursor.execute("SELECT max(id) FROM t62")
        (number,) = cursor.fetchone()
        for price in range(3):
            cursor.execute("UPDATE t62 SET price = %s WHERE id = %s", (price, number))
            cursor.execute("SELECT price FROM t62 WHERE id = %s", (number,))
            case.assertEqual(cursor.fetchone(), (price,))
        cursor.execute("DELETE FROM t62 WHERE id = %s", (number,))


def main() -> None:
    """Measure and print a table."""
    rows = [(f"suite of {TESTS:,} tests", "total", "a test, median", "times plain", "a test, least", "times plain")]
    with (
        on_one_processor(),
        tempfile.TemporaryDirectory() as folder,
        schema.manager(folder, TABLES, Redis()) as both,
    ):
        with schema.manager(folder, TABLES) as postgres, other_database(both, TABLES) as plain:
            for test in (three, fourteen):
                rows += _rows(test, measure(test, plain.connection, postgres, both))
    print(table(rows))


def _rows(test: Callable[[Any], None], results: dict[str, list[float]]) -> Iterator[tuple[str, ...]]:
    for name, seconds in results.items():
        yield (
            f"{test.__name__} statements, {name}",
            duration(sum(seconds)),
            *_each(seconds, results[PLAIN], statistics.median),
            *_each(seconds, results[PLAIN], min),
        )


def _each(seconds: list[float], plain: list[float], value: Callable[[list[float]], float]) -> tuple[str, str]:
    return duration(value(seconds) / TURN), f"{value(seconds) / value(plain):.2f}"


def measure(
    test: Callable[[Any], None], plain: Any, postgres: ContainerManager, both: ContainerManager
) -> dict[str, list[float]]:
    """Return the seconds that each turn of the tests takes as each kind of TestCase."""
    methods = {f"test_{number:04}": lambda self: test(self) for number in range(TESTS)}
    kinds = {
        PLAIN: type("Plain", (unittest.TestCase,), {**methods, "db": plain}),
        POSTGRES: type("Postgres", (PostgresTestCase,), {**methods, "containers": postgres}),
        BOTH: type("Both", (IntegrationTestCase,), {**methods, "containers": both}),
    }
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    names = sorted(methods)
    for start in range(0, TESTS, TURN):
        for name, kind in kinds.items():
            seconds[name].append(_run(unittest.TestSuite(map(kind, names[start : start + TURN]))))
    return seconds


def _run(suite: unittest.TestSuite) -> float:
    result = unittest.TestResult()
    start = time.perf_counter()
    suite.run(result)
    taken = time.perf_counter() - start
    if not result.wasSuccessful():
        raise RuntimeError(f"a test of the benchmark failed:\n{(result.errors + result.failures)[0][1]}")
    return taken
