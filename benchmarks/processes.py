"""What several processes gain and cost: workers, attaching, the end of a run; in-run medians.

Each figure is taken from outside, as a user's clock would: the start of Python and all imports count. Compiled
modules are kept between runs, as they are on a developer's machine.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
BACKENDS = ("docker", "local")
TESTS, PARTS = 400, 20
ROUNDS = 5

#: A part of the sample's tests, repeated until there are TESTS of them in PARTS modules.
PART = """
import itertools, unittest
from tests.sample import {names}

def cases(suite):
    for item in suite:
        yield from cases(item) if isinstance(item, unittest.TestSuite) else (item,)

def load_tests(loader, standard, pattern):
    found = [case for module in ({names},) for case in cases(loader.loadTestsFromModule(module))]
    repeated = itertools.islice(itertools.cycle(found), {first}, {first} + {count})
    return unittest.TestSuite(type(case)(case._testMethodName) for case in repeated)
"""

START = """
import sys, time
from containertest import ContainerManager
ContainerManager({arguments}migrations={schema!r}).start()
print(time.monotonic(), flush=True)
sys.stdin.read()
"""

#: Statements by the shared connection and, in turns with them, by the port that ``url`` names.
STATEMENTS = """
import statistics, time
from containertest import ContainerManager

def statement(cursor):
    began = time.perf_counter()
    cursor.execute("SELECT 1")
    return time.perf_counter() - began

with ContainerManager(redis=None) as servers:
    it = servers.postgres
    published = it.connect(host=it.host, port=it.port)
    published.autocommit = True
    cursors = it.connection.cursor(), published.cursor()
    pairs = [[statement(cursor) for cursor in cursors] for _ in range(2000)]
    print(*map(statistics.median, zip(*pairs)))
"""

#: One test, whose end is noted on the clock that all processes have.
LAST = """
import time, unittest
from containertest import IntegrationTestCase
class LastTests(IntegrationTestCase):
    def test(self):
        self.redis.set("a", "b")
        self.db.cursor().execute("SELECT 1")
        self.addCleanup(lambda: print(time.monotonic(), flush=True))
unittest.main()
"""


def main(arguments: Sequence[str] = ()) -> int:
    """Measure and print: for the backends named, else for both."""
    with tempfile.TemporaryDirectory(prefix="ct-bench-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o1777)
        bench = Bench(Path(folder))
        for backend in arguments or BACKENDS:
            bench.report(backend)
    return 0


class Bench:
    """Runs of their own, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.suite = folder / "suite"
        _write_suite(self.suite)

    def report(self, backend: str) -> None:
        print(f"{backend}, {os.cpu_count()} cores, medians of {ROUNDS}", flush=True)
        # In turn, so that what else the machine does hits both alike.
        pairs = [(self.workers(backend, 1), self.workers(backend, 2)) for _ in range(ROUNDS)]
        one, two = (statistics.median(seconds) for seconds in zip(*pairs, strict=True))
        gain = statistics.median(first / second for first, second in pairs)
        _line(f"{TESTS} tests of the sample, 1 worker", one)
        _line(f"{TESTS} tests of the sample, 2 workers", two, f"{gain:.2f} times as fast")
        shared, published = self.statements(backend)
        ratio = f"{shared / published:.2f} of the time by the published port" if backend == "docker" else ""
        _line("a statement, by the shared connection", shared, ratio, digits=3)
        _line("from the last test to the prompt", _median(lambda: self.end(backend)))
        with ExitStack() as stack:
            _, session = stack.enter_context(self.started(backend))
            _line("a second process attaches", _median(lambda: self.attach(backend, session, stack)))
            without = _median(lambda: self.attach(backend, session, stack, "redis=None, "))
            _line("  one that needs no Redis of its own", without)
        _line("  of which Python alone", _median(lambda: self.bare("pass")))
        _line("  of which its imports", _median(lambda: self.bare("import psycopg2, containertest.servers.stack")))

    def environment(self, backend: str) -> dict[str, str]:
        left_out = ("CONTAINERTEST_SESSION", "PYTHONDONTWRITEBYTECODE")
        own = {name: value for name, value in os.environ.items() if name not in left_out}
        return {
            **own,
            "CONTAINERTEST_BACKEND": backend,
            "PYTHONPATH": str(TOP),
            "PYTHONPYCACHEPREFIX": str(self.folder / "compiled"),
        }

    def workers(self, backend: str, count: int) -> float:
        """Seconds for all the tests with so many workers, all included."""
        command = [sys.executable, "-m", "unittest_parallel", "-j", str(count), "-p", "part_*.py"]
        began = time.monotonic()
        done = subprocess.run(
            command, env=self.environment(backend), cwd=self.suite, capture_output=True, text=True, check=False
        )
        seconds = time.monotonic() - began
        if done.returncode or not re.search(rf"^Ran {TESTS} tests", done.stderr, re.MULTILINE):
            raise SystemExit(done.stderr)
        return seconds

    def statements(self, backend: str) -> tuple[float, float]:
        """Seconds that ``SELECT 1`` takes by the shared connection, and by the published port."""
        with self.python(backend, STATEMENTS) as process:
            shared, published = map(float, process.stdout.readline().split())
            return shared, published

    def end(self, backend: str) -> float:
        """Seconds from the end of the last test to the end of the process."""
        with self.python(backend, LAST) as process:
            last = float(process.stdout.readline())
            process.wait()
            return time.monotonic() - last

    def attach(self, backend: str, session: str, stack: ExitStack, arguments: str = "") -> float:
        """Seconds from the start of a process of the run until it has its database and its Redis.

        What only its first use of Redis loads is not in it: redis-py.

        The processes before it still live: one that is gone would hand on what it had.
        """
        began = time.monotonic()
        at, _ = stack.enter_context(self.started(backend, session, arguments))
        return at - began

    def bare(self, code: str) -> float:
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", code], env=self.environment("local"), check=True)
        return time.monotonic() - began

    @contextmanager
    def started(self, backend: str, session: str = "", arguments: str = "") -> Iterator[tuple[float, str]]:
        """A process that has servers: since when, and the id of its run."""
        from containertest.processes import myself

        code = START.format(schema=str(TOP / "containertest" / "sample" / "schema.sql"), arguments=arguments)
        given = {"CONTAINERTEST_SESSION": session} if session else {}
        with self.python(backend, code, **given) as process:
            at = float(process.stdout.readline())
            yield at, "-".join(myself(process.pid))
            process.stdin.close()

    @contextmanager
    def python(self, backend: str, code: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(
            [sys.executable, "-c", code],
            env={**self.environment(backend), **variables},
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            yield process


def _median(measure: Callable[[], float]) -> float:
    measure()
    return statistics.median(measure() for _ in range(ROUNDS))


def _line(what: str, seconds: float, more: str = "", digits: int = 0) -> None:
    print(f"  {what:<40} {1000 * seconds:7.{digits}f} ms  {more}".rstrip(), flush=True)


def _write_suite(suite: Path) -> None:
    names = ", ".join(sorted(path.stem for path in (TOP / "tests" / "sample").glob("test_*.py")))
    suite.mkdir()
    for number in range(PARTS):
        text = PART.format(names=names, first=number * TESTS // PARTS, count=TESTS // PARTS)
        (suite / f"part_{number}.py").write_text(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
