"""One process that starts others in every way there is; what each of them has is recorded."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import recorder

containers = recorder.new_manager()


def use(way: str) -> dict[str, object]:
    """What a child does: it has its own database and Redis server, and finds them as the migrations left them."""
    with containers:
        containers.reset_all()
        with containers.postgres.connection.cursor() as cursor:
            cursor.execute("INSERT INTO work (pid) VALUES (%s)", (os.getpid(),))
        containers.redis.client.set("way", way)
        assert len(containers.redis.client.keys()) == 1
        return recorder.record(containers, way=way)


def by_multiprocessing() -> None:
    for method in ("spawn", "fork", "forkserver"):
        process = multiprocessing.get_context(method).Process(target=use, args=(method,))
        process.start()
        process.join(recorder.DEADLINE)
        assert process.exitcode == 0, f"{method}: {process.exitcode}"


def by_executor() -> None:
    with ProcessPoolExecutor(1) as executor:
        executor.submit(use, "executor").result(recorder.DEADLINE)


def by_subprocess() -> None:
    subprocess.run([sys.executable, "-c", "import processes; processes.use('subprocess')"], check=True)


def by_fork() -> None:
    """A bare fork, whose child ends as a program does: with its objects destroyed."""
    backend, client = containers.postgres.connection, containers.redis.client
    pid = os.fork()
    if not pid:
        warnings.simplefilter("error")
        found = use("os.fork")
        sys.exit(found["database"] == backend.info.dbname)
    assert os.waitpid(pid, 0)[1] == 0
    with backend.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        assert cursor.fetchone() == (containers.postgres.dbname,)
    assert containers.postgres.connection is backend
    assert client.get("parent") == b"here"


def by_pool_of_short_lives() -> None:
    """Six workers after one another: each takes over what the last one had."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for _ in range(3):
            pool.apply(use, ("short",))


def by_threads() -> None:
    """Eight threads start at once a manager that this process has not used yet, and share its database."""
    manager = recorder.new_manager()
    barrier = threading.Barrier(8)

    def start(number: int) -> int:
        barrier.wait(recorder.DEADLINE)
        manager.start()
        with manager.postgres.connection.cursor() as cursor:
            cursor.execute("INSERT INTO work (pid) VALUES (%s)", (number,))
            manager.redis.client.incr("threads")
            cursor.execute("SELECT pg_backend_pid()")
            return int(cursor.fetchone()[0])

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(start, range(8)))) == 1
    with manager.postgres.connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM work")
        assert cursor.fetchone() == (8,)
    assert manager.redis.client.get("threads") == b"8"
    recorder.record(manager, way="threads")


if __name__ == "__main__":
    by_threads()
    containers.start().reset_all()
    containers.redis.client.set("parent", "here")
    with containers.postgres.connection.cursor() as parent:
        parent.execute("INSERT INTO work (pid) VALUES (0)")
    for way in (by_multiprocessing, by_executor, by_subprocess, by_fork, by_pool_of_short_lives):
        way()
        containers.postgres.connection.cursor().execute("SELECT 1")
    recorder.record(containers, way="parent", servers=recorder.count_postgres(os.environ["CONTAINERTEST_SESSION"]))
