"""``python -m tests --jobs N``: every module in a process, and so a run, of its own; N of them at a time.

A module's output is shown when it ends: all of it if a test failed, else its last line. The end is that of one run.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]

#: Seconds after which a module is taken for hung.
TIMEOUT = 900

#: What takes longest begins first, so that no worker is left with one at the end: by how long it took the last time in
#: this checkout, which is noted in this file; before that these.
LONGEST = (
    "test_crash",
    "test_parallel",
    "test_reset_snapshots",
    "test_keep_alive",
    "test_local_backend",
    "test_runner",
)
DURATIONS = TOP / ".test_durations.json"

#: They look at what is one for the whole machine: prepared images, lost containers, shared memory. Last, one by one.
ALONE = ("test_prepared", "test_prune", "test_docker_backend", "test_local_crash")

_RAN = re.compile(r"^Ran (\d+) tests? in ", re.MULTILINE)
_RESULT = re.compile(r"^(?:OK|FAILED|NO TESTS RAN)(?: \((.*)\))?$", re.MULTILINE)
_LEFT_OUT = re.compile(r"^LEFT OUT: .*$", re.MULTILINE)


@dataclass
class Outcome:
    """What a module's tests came to: how many ran, and how many did not pass, by unittest's words for why."""

    name: str
    output: str
    passed: bool
    ran: int
    counts: Counter[str]
    summary: str
    seconds: float

    @classmethod
    def of(cls, name: str, output: str, status: int, seconds: float) -> Outcome:
        ran, result = _RAN.findall(output), list(_RESULT.finditer(output))
        parts = (result[-1][1] or "").split(", ") if result else []
        counts = Counter({word: int(number) for word, _, number in (part.partition("=") for part in parts) if number})
        if status and not counts.keys() & {"failures", "errors", "unexpected successes"}:
            counts["errors"] = 1  # it ended before it could say
        summary = ", ".join(line for line in output.splitlines() if _RAN.match(line) or _RESULT.match(line))
        return cls(name, output, status == 0, int(ran[-1]) if ran else 0, counts, summary, seconds)


def run(names: Sequence[str], jobs: int) -> int:
    """Run the modules that ``names`` stand for; returns the exit status."""
    began = time.monotonic()
    modules = _in_order(names)
    alone = [name for name in modules if name.endswith(ALONE)]
    outcomes: list[Outcome] = []
    for some, at_a_time in (([name for name in modules if name not in alone], jobs), (alone, 1)):
        for outcome in _run_all(some, at_a_time):
            outcomes.append(outcome)
            _show(outcome, f"{len(outcomes)}/{len(modules)}")
    _note_durations(outcomes)
    for line in sorted({line for outcome in outcomes for line in _LEFT_OUT.findall(outcome.output)}):
        print(line, file=sys.stderr)
    return _conclude(outcomes, time.monotonic() - began)


def _run_all(modules: Sequence[str], jobs: int) -> Iterator[Outcome]:
    with ThreadPoolExecutor(jobs) as pool:
        for future in as_completed([pool.submit(_run_module, name) for name in modules]):
            yield future.result()


def _in_order(names: Sequence[str]) -> list[str]:
    durations = _durations()

    def place(name: str) -> tuple[float, int]:
        prefixes = [number for number, prefix in enumerate(LONGEST) if name.rpartition(".")[2].startswith(prefix)]
        return -durations.get(name, 0.0), min(prefixes, default=len(LONGEST))

    return sorted((module for name in names for module in _modules(name)), key=place)


def _durations() -> dict[str, float]:
    """Seconds that the modules took the last time."""
    try:
        noted = json.loads(DURATIONS.read_text(encoding="utf-8"))
        return {str(name): float(seconds) for name, seconds in noted.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _note_durations(outcomes: Sequence[Outcome]) -> None:
    noted = {**_durations(), **{outcome.name: round(outcome.seconds, 1) for outcome in outcomes}}
    with contextlib.suppress(OSError):
        DURATIONS.write_text(json.dumps(noted, indent=0, sort_keys=True), encoding="utf-8")


def _modules(name: str) -> Iterator[str]:
    """The modules below ``tests.integration``, and all else as it is: it takes seconds."""
    if name == "tests":
        for package in ("tests.unit", "tests.sample", "tests.integration"):
            yield from _modules(package)
    elif name == "tests.integration":
        yield from sorted(f"{name}.{file.stem}" for file in (TOP / "tests/integration").glob("test_*.py"))
    else:
        yield name


def _run_module(name: str) -> Outcome:
    """Run a module; its output goes through a file, since what it leaves running would keep a pipe open."""
    environment = {key: value for key, value in os.environ.items() if key != "CONTAINERTEST_SESSION"}
    command = [sys.executable, "-X", "faulthandler", "-m", "tests", name]
    began = time.monotonic()
    with tempfile.TemporaryFile() as file:
        with subprocess.Popen(command, cwd=TOP, env=environment, stdout=file, stderr=file) as process:
            timer = threading.Timer(TIMEOUT, process.send_signal, [signal.SIGABRT])  # so it says where it hangs
            timer.start()
            status = process.wait()
            timer.cancel()
        file.seek(0)
        return Outcome.of(name, file.read().decode(errors="replace"), status, time.monotonic() - began)


def _show(outcome: Outcome, place: str) -> None:
    if outcome.passed:
        print(f"{outcome.name}: {outcome.summary} [{place}]", flush=True)
    else:
        print(f"{'=' * 70}\n[{place}] {outcome.name}:\n{outcome.output}\n{'=' * 70}", flush=True)


def _conclude(outcomes: Sequence[Outcome], seconds: float) -> int:
    """Print what unittest would print at the end of one run of all."""
    counts: Counter[str] = sum((outcome.counts for outcome in outcomes), Counter())
    passed = all(outcome.passed for outcome in outcomes)
    details = ", ".join(f"{word}={number}" for word, number in counts.items())
    print(f"{'-' * 70}\nRan {sum(outcome.ran for outcome in outcomes)} tests in {seconds:.3f}s\n")
    print(("OK" if passed else "FAILED") + (f" ({details})" if details else ""))
    return 0 if passed else 1
