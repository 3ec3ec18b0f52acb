"""Runs of their own, in child processes: each with its own folder of runs, so that only its own are counted."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support import TOP, clean_environment, eventually, found

PROJECT = TOP / "tests" / "testdata" / "project"
#: Seconds that one run may take on a busy machine.
LONGEST = 300


class Runs:
    """What a TestCase has whose child processes are runs on `backend`, with a TMPDIR of their own."""

    backend: str

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="ct-runs-", ignore_cleanup_errors=True)
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        # The servers' user has to get in.
        self.folder.chmod(0o1777)
        # Called before the folder goes: the guards of our runs remove what is theirs in it.
        self.addCleanup(self.wait_for_guards)

    def wait_for_guards(self) -> None:
        self.assertTrue(eventually(lambda: not self.runs()), f"runs that were not removed: {self.runs()}")

    def runs(self) -> list[Path]:
        """The folders of the runs that are there."""
        return [path for path in found(self.folder, "containertest-*/*") if path.is_dir() and not path.is_symlink()]

    def environment(self, **variables: str) -> dict[str, str]:
        files = {f"CT_{name}": str(self.folder / name.lower()) for name in ("RECORDS", "MIGRATIONS", "DJANGO")}
        environment = clean_environment(
            TMPDIR=str(self.folder), CONTAINERTEST_BACKEND=self.backend, **files, **variables
        )
        return {**environment, "PYTHONPATH": f"{TOP}:{PROJECT}"}

    def run_child(
        self, *arguments: str, cwd: Path = PROJECT, status: int | None = 0, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run Python with these arguments and wait for its end; fail unless its exit status is ``status``."""
        done = subprocess.run(
            [sys.executable, *arguments],
            env=self.environment(**variables),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )
        if status is not None:
            self.assertEqual(done.returncode, status, f"{done.stdout}\n{done.stderr}")
        return done

    def read(self, name: str) -> list[dict[str, Any]]:
        """The lines that the children have written to a file, see recorder.py in the project."""
        path = self.folder / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def values(records: Sequence[dict[str, Any]], name: str) -> set[str]:
    """The different values of one field."""
    return {str(record[name]) for record in records}
