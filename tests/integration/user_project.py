"""A project as a user has it, in a folder of its own: its tests run in a new process, what they leave is counted."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import unittest
from dataclasses import dataclass
from pathlib import Path

from tests.support import clean_environment, eventually, found

#: A test module on the servers of a manager, whose making stands in the place of ``%s``.
MODULE = """
from containertest import ContainerManager, IntegrationTestCase, Postgres, Redis
from containertest.wait import Connection, ListeningPort, LogLine

containers = %s
setUpModule, tearDownModule = containers.start, containers.stop

class Tests(IntegrationTestCase):
    containers = containers

    def test_both_servers_answer(self):
        self.redis.set("key", "value")
        self.assertRowCount("pg_namespace", 1, "nspname = %%s", ("public",))
"""


def module(manager: str = "ContainerManager()") -> str:
    """A test module with one test that uses both servers."""
    return MODULE % manager


@dataclass
class Run:
    """What a test run has printed, and its status."""

    status: int
    output: str

    @property
    def errors(self) -> list[list[str]]:
        """The lines that unittest has printed of each failed test, without its heading."""
        found = re.findall(r"^={70}\n(?:ERROR|FAIL): [^\n]*\n-{70}\n(.*?)\n(?=\n[=-]{70}$)", self.output, re.M | re.S)
        return [text.rstrip().splitlines() for text in found]


class Project:
    """A folder with test modules, and one for their temporary files.

    :param test: what it belongs to: the folder is removed at its end, once nothing of its runs is left.
    """

    def __init__(self, test: unittest.TestCase, **files: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ct-project-"))
        self.folder.chmod(0o755)
        test.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        test.addCleanup(self.assert_nothing_left, test)
        self.temporary = self.folder / "tmp"
        self.temporary.mkdir()
        self.temporary.chmod(0o1777)
        self._pids: list[int] = []
        for name, text in files.items():
            self.write(f"{name}.py", text)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def run(self, *arguments: str, python: str = sys.executable, timeout: float = 240, **variables: str) -> Run:
        """Run ``python ARGUMENT …`` in the folder, by default all tests by unittest; as a run of its own."""
        process = subprocess.Popen(
            [python, *(arguments or ("-m", "unittest"))],
            cwd=self.folder,
            env=clean_environment(TMPDIR=str(self.temporary), **variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._pids.append(process.pid)
        try:
            output, _ = process.communicate(timeout=timeout)
        finally:
            process.kill()
            process.wait()
        return Run(process.returncode, output)

    def left(self) -> list[str]:
        """Folders, processes and containers of these runs that are still there."""
        # A data folder may be in memory instead; by its name the processes in it are found too.
        folders = [*found(self.temporary, "containertest*/*"), *found(self.temporary, "containertest-data-*")]
        marked = [folder for pid in self._pids for folder in found(Path("/dev/shm"), f"*/session-{pid}-*")]
        return [*map(str, folders), *map(str, marked), *self._processes(), *self._containers()]

    def _processes(self) -> list[str]:
        """Processes that have our temporary folder in their environment (guards) or command line."""
        needle = str(self.temporary).encode()
        seen = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if needle in (process / "environ").read_bytes() or needle in (process / "cmdline").read_bytes():
                    seen.append(f"process {process.name} {(process / 'cmdline').read_bytes()!r}")
            except OSError:
                continue
        return seen

    def _containers(self) -> list[str]:
        if shutil.which("docker") is None:
            return []
        command = ["docker", "ps", "-a", "--format", "{{.Names}}", "--filter", "label=containertest"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return [name for name in done.stdout.split() for pid in self._pids if f"-{pid}-" in name]

    def assert_nothing_left(self, test: unittest.TestCase) -> None:
        test.assertTrue(eventually(lambda: not self.left()), f"left behind: {self.left()}")
