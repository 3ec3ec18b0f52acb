"""What each process of a run saw, written to a file that the test which started the run reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from containertest import ContainerManager

HERE = Path(__file__).resolve().parent
#: Seconds until the other workers must have come.
DEADLINE = 120


def migrate(url: str) -> None:
    """The migration that is a callable: leaves a line each time it runs."""
    add("MIGRATIONS", {"pid": os.getpid()})


def new_manager() -> ContainerManager:
    return ContainerManager(migrations=[HERE / "schema.sql", migrate])


def add(what: str, record: dict[str, Any]) -> None:
    """Add a line to a file; one write, which other processes' writes can't cut in two."""
    with open(os.environ[f"CT_{what}"], "ab", buffering=0) as file:
        file.write(json.dumps(record).encode() + b"\n")


def read(what: str) -> list[dict[str, Any]]:
    path = Path(os.environ[f"CT_{what}"])
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def record(manager: ContainerManager, **more: Any) -> dict[str, Any]:
    """Write down what this process has."""
    with manager.postgres.connection.cursor() as cursor:
        cursor.execute("SELECT current_database(), pg_postmaster_start_time()::text, (SELECT count(*) FROM migrated)")
        database, started, migrated = cursor.fetchone()
    found = {
        "pid": os.getpid(),
        "postgres": [manager.postgres.port, started],
        "database": database,
        "migrated": migrated,
        "redis": manager.redis.port,
        "docker_loaded": "docker" in sys.modules,
        **more,
    }
    add("RECORDS", found)
    return found


def wait_for_workers(count: int) -> None:
    """Return when that many processes have recorded something."""
    deadline = time.monotonic() + DEADLINE
    while len({found["pid"] for found in read("RECORDS")}) < count:
        if time.monotonic() > deadline:
            raise AssertionError(f"{count} workers were expected, but these came: {read('RECORDS')}")
        time.sleep(0.02)


def work(manager: ContainerManager, workers: int, **more: Any) -> dict[str, Any]:
    """Write a row and a key, wait until all the others have, and see that nothing but them is there."""
    with manager.postgres.connection.cursor() as cursor:
        cursor.execute("INSERT INTO work (pid) VALUES (%s)", (os.getpid(),))
    manager.redis.client.set(f"pid:{os.getpid()}", "here")
    found = record(manager, **more)
    wait_for_workers(workers)
    with manager.postgres.connection.cursor() as cursor:
        cursor.execute("SELECT array_agg(pid) FROM work")
        assert cursor.fetchone()[0] == [os.getpid()], "rows of another process"
    assert manager.redis.client.keys() == [f"pid:{os.getpid()}".encode()], "keys of another process"
    return found


def count_postgres(session: str) -> int:
    """How many PostgreSQL servers of the run really run, as the engine or the kernel says."""
    if os.environ["CONTAINERTEST_BACKEND"] == "docker":
        labels = (f"label=containertest.session={session}", "label=containertest.service=postgres")
        command = ["docker", "ps", "-q", *(word for label in labels for word in ("--filter", label))]
        return len(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    folders = [folder for base in _bases() for folder in base.glob(f"containertest-data-{session}-*")]
    return sum((folder / "data" / "postmaster.pid").exists() for folder in folders)


def _bases() -> list[Path]:
    return [Path("/dev/shm"), Path(os.environ["TMPDIR"])]
