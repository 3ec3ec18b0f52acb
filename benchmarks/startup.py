"""How long until the servers answer, against the alternatives: ``python -m benchmarks startup``.

What is timed, in a fresh process for each start: from before the first import of the library to the first answers of
all its servers, with Python's own start and the removal left out. Starts take turns, so that a slow moment of the
machine hits all of them. The alternatives for local servers start only PostgreSQL; containertest also starts Redis.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from containertest import backends
from containertest.errors import BackendUnavailable
from containertest.services import postgres, programs, redis
from containertest.settings import Settings

__all__ = ["main"]

ROUNDS = 7
TOP = Path(__file__).resolve().parents[1]
FIRST, LATER = "containertest, first run on a machine", "containertest, later runs"
#: Seconds that a guard may take to remove a run and to prepare the next.
PATIENCE = 60


@dataclass
class Contest:
    """Starts that take turns.

    :param user: who runs them; None: this user.
    :param peers: the title of an alternative -> its name in `startup_starts`.
    """

    backend: str
    title: str
    user: str | None
    peers: dict[str, str]
    aims: tuple[float, float]
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def run(self) -> None:
        for _ in range(ROUNDS):
            cache = self._folder()
            for title, name in self.peers.items():
                self._start(title, name, cache)
            self._start(FIRST, self.backend, cache)
            self._start(LATER, self.backend, cache)
            self._remove(cache)

    def _folder(self) -> Path:
        """A new cache folder."""
        folder = Path(tempfile.mkdtemp(prefix="containertest-bench-"))
        if self.user:
            shutil.chown(folder, self.user)
        return folder

    def _start(self, title: str, name: str, cache: Path) -> None:
        answer = self._python(["-m", "benchmarks.startup_starts", name], cache)
        result = json.loads(answer)
        self.seconds.setdefault(title, []).append(result["seconds"])
        deadline = time.monotonic() + PATIENCE
        while result["folder"] and os.path.exists(result["folder"]) and time.monotonic() < deadline:
            time.sleep(0.05)

    def _remove(self, cache: Path) -> None:
        """Remove what the runs have kept for the next."""
        if self.backend == "docker":
            self._python(["-c", "from containertest.backends import docker; docker.prune()"], cache)
        shutil.rmtree(cache)

    def _python(self, arguments: list[str], cache: Path) -> str:
        command = [*_as(self.user), sys.executable, *arguments]
        environment = {**os.environ, **_environment(), "XDG_CACHE_HOME": str(cache), "HOME": str(cache)}
        done = subprocess.run(command, cwd=TOP, env=environment, capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stderr}")
        return done.stdout

    def show(self) -> None:
        print(f"\n{self.title}: medians of {ROUNDS} starts each, which took turns\n")
        medians = {title: statistics.median(values) for title, values in self.seconds.items()}
        ours = {title: seconds for title, seconds in medians.items() if title in (FIRST, LATER)}
        print(f"  {'':44}{'seconds':>9}{'from':>8}{'to':>8}   ratio, first and later runs")
        for title, seconds in medians.items():
            ratios = "" if title in ours else "   ".join(f"{mine / seconds:.2f}" for mine in ours.values())
            values = self.seconds[title]
            print(f"  {title:44}{seconds:9.3f}{min(values):8.3f}{max(values):8.3f}   {ratios}")
        print(f"  {'aims':44}{'':25}   {'   '.join(f'{aim:.2f}' for aim in self.aims)}")


def _environment() -> dict[str, str]:
    """What makes all starts use the same images and programs, and containertest's a run of its own."""
    settings = Settings.load()
    specs = (postgres.spec(postgres.Postgres(), settings, "-"), redis.spec(redis.Redis(), settings, "-"))
    images = {f"CONTAINERTEST_{spec.service.upper()}_IMAGE": spec.container.image for spec in specs}
    path = next((str(folder) for folder in programs.postgres_folders() if (folder / "pg_ctl").exists()), "")
    return {
        **images,
        "BENCH_POSTGRES_BIN": path,
        "CONTAINERTEST_POSTGRES_BIN": path,
        "CONTAINERTEST_SESSION": "",
        # It would be one image and one container more; used as its documentation says where there is no such image.
        "TESTCONTAINERS_RYUK_DISABLED": "true",
        "PYTHONPATH": str(TOP),
    }


def _as(user: str | None) -> list[str]:
    """What runs a command as ``user``, who may then still read this Python, wherever it is."""
    if user is None:
        return []
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--inh-caps=+dac_read_search",
            "--ambient-caps=+dac_read_search"]  # fmt: skip


def main() -> None:
    """Run both contests, each if it can be held here, and print their tables."""
    docker = Contest("docker", "Both servers on Docker", None, {"testcontainers": "testcontainers"}, (0.40, 0.25))
    local = Contest(
        "local",
        "Local servers",
        "postgres" if os.geteuid() == 0 else None,
        {"pytest-postgresql's executor": "pytest-postgresql", "testing.postgresql": "testing.postgresql"},
        (0.25, 0.25),
    )
    for contest in (docker, local):
        try:
            found = backends.get(contest.backend).check(postgres.spec(postgres.Postgres(), Settings.load(), "-"))
        except BackendUnavailable as error:
            print(f"\n{contest.title}: left out: {error}")
            continue
        print(f"\n{found}")
        contest.run()
        contest.show()


if __name__ == "__main__":
    main()
