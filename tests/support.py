"""What tests share: which backends there are, inner TestCases, child processes, and what is left behind."""

from __future__ import annotations

import functools
import glob
import os
import subprocess
import sys
import textwrap
import unittest
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from containertest import backends
from containertest.errors import BackendUnavailable
from containertest.services import postgres, redis
from containertest.settings import Settings
from containertest.wait import poll

TOP = Path(__file__).resolve().parents[1]
BACKENDS = ("docker", "local")

#: With CT_TESTS_REQUIRE=all a missing backend is a failure, as in CI; else it is reported and left out.
REQUIRED = os.environ.get("CT_TESTS_REQUIRE") == "all"


@functools.cache
def why_not(backend: str) -> str:
    """Why ``backend`` can't be tested here; "" if it can."""
    settings = Settings.load()
    try:
        for service, wanted in ((postgres, postgres.Postgres()), (redis, redis.Redis())):
            backends.get(backend).check(service.spec(wanted, settings, "unused"))
    except BackendUnavailable as error:
        return str(error)
    return ""


def require(backend: str) -> None:
    """Go on if ``backend`` is there; else fail where all are required, and leave the tests out elsewhere."""
    if not (reason := why_not(backend)):
        return
    if REQUIRED:
        raise AssertionError(f"the backend {backend} is required here: {reason}")
    _left_out.add(backend)
    raise unittest.SkipTest(f"no backend {backend} here: {reason}")


def require_any() -> None:
    """Go on if some backend works here."""
    if all(why_not(backend) for backend in BACKENDS):
        require(BACKENDS[-1])


_left_out: set[str] = set()


def left_out() -> list[str]:
    """A line for each backend whose tests were left out."""
    return [f"LEFT OUT: the tests of the backend {name}: {why_not(name).splitlines()[0]}" for name in sorted(_left_out)]


def on_every_backend(mixin: type) -> type:
    """Make a TestCase of ``mixin`` for each backend, with the attribute ``backend``, in the mixin's module."""
    module = sys.modules[mixin.__module__]
    for backend in BACKENDS:
        name = f"{mixin.__name__}On{backend.capitalize()}"
        setattr(module, name, _on(backend, name, mixin))
    return mixin


def _on(backend: str, name: str, mixin: type) -> type:
    def setUpClass(cls: Any) -> None:
        require(backend)
        super(made, cls).setUpClass()

    made: Any = type(
        name,
        (mixin, unittest.TestCase),
        {"backend": backend, "setUpClass": classmethod(setUpClass), "__module__": mixin.__module__},
    )
    return made


def clean_environment(**variables: str) -> dict[str, str]:
    """The environment for a child that is a run of its own: without our run's id, with this checkout's package."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name != "CONTAINERTEST_SESSION" and not name.startswith("PYTEST_")
    }
    return {**inherited, "PYTHONPATH": str(TOP), "PYTHONDONTWRITEBYTECODE": "1", **variables}


def run_python(code: str, *arguments: str, timeout: float = 180, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a new Python that is a run of its own."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        env=clean_environment(**variables),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def found(folder: Path, pattern: str) -> list[Path]:
    """As ``folder.glob(pattern)``, which raises an error when somebody removes a folder while it looks."""
    return [Path(path) for path in glob.glob(os.path.join(glob.escape(str(folder)), pattern))]


def start(test: unittest.TestCase, command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
    """Start a process whose output the test reads; it is killed at the test's end, if it is still there."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )
    for cleanup in (process.stdout.close, process.stderr.close, process.wait, process.kill):
        test.addCleanup(cleanup)  # the last one is called first
    return process


def run_case(case: type[unittest.TestCase], *names: str) -> unittest.TestResult:
    """Run an inner TestCase, or only the tests ``names`` of it, in this process and return the result."""
    loader = unittest.TestLoader()
    suite = unittest.TestSuite(map(case, names)) if names else loader.loadTestsFromTestCase(case)
    result = unittest.TestResult()
    suite.run(result)
    return result


def eventually(check: Callable[[], bool], timeout: float = 60) -> bool:
    """Poll ``check`` until it holds; False when it never did."""
    return poll(check, timeout, interval=0.05)
