"""A run that the kernel kills because its memory is used up leaves nothing either."""

from __future__ import annotations

import contextlib
import secrets
import signal
import unittest
from pathlib import Path

from tests.integration.crash.run import Run

LIMIT = 600 << 20
ROOT = Path("/sys/fs/cgroup")


class MemoryGroup:
    """A cgroup with a memory limit, of version 1 or 2; see cgroups(7)."""

    def __init__(self) -> None:
        first = (ROOT / "memory").is_dir()
        self.path = (ROOT / "memory" if first else ROOT) / f"ct-crash-{secrets.token_hex(4)}"
        self.limits = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes") if first else ("memory.max",)

    def make(self) -> None:
        """:raises OSError: if that is not allowed here."""
        self.path.mkdir()
        (self.path / self.limits[0]).write_text(str(LIMIT))
        for name in self.limits[1:]:
            with contextlib.suppress(OSError):  # without accounting of swap there is no such file
                (self.path / name).write_text(str(LIMIT))
        with contextlib.suppress(OSError):
            (self.path / "memory.swap.max").write_text("0")

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            self.path.rmdir()


class OutOfMemoryTests(unittest.TestCase):
    def test_nothing_is_left_after_the_kernel_killed_the_runner_for_its_memory(self) -> None:
        group = MemoryGroup()
        self.addCleanup(group.remove)
        try:
            group.make()
        except OSError as error:
            self.skipTest(f"no cgroup can be made here: {error}")
        run = Run("local", "test:eat")
        self.addCleanup(run.__exit__, None, None, None)
        # The shell puts itself there, and so all that the run starts: the guard and the servers too.
        run.start(prefix=("sh", "-c", f'echo $$ > {group.path}/cgroup.procs && exec "$@"', "sh"))
        self.assertEqual(run.wait(), -signal.SIGKILL, run.said())
        run.wait_until_gone()
        self.assertEqual((group.path / "cgroup.procs").read_text(), "")
