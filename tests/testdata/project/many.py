"""``python many.py ROUNDS WORKERS``: in each round a new run, whose workers all start at the same moment."""

from __future__ import annotations

import functools
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable
from multiprocessing.synchronize import Barrier

import psycopg2  # noqa: F401  (loaded once, for all that are forked off)
import recorder
import redis  # noqa: F401

import containertest.reset.postgres
import containertest.reset.redis
import containertest.servers.stack  # noqa: F401
from containertest.session import VARIABLE


def forked(function: Callable[[], None]) -> int:
    """Run ``function`` in a child made by fork; returns its pid."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        function()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def ended_well(pids: list[int]) -> bool:
    statuses = [os.waitpid(pid, 0)[1] for pid in pids]
    return not any(statuses)


def one_round(number: int, workers: int) -> None:
    """The first process of a run: it only starts the workers, as the parent of unittest-parallel does."""
    os.environ.pop(VARIABLE, None)
    barrier = multiprocessing.get_context("fork").Barrier(workers)
    containers = recorder.new_manager()
    good = ended_well([forked(lambda: work(number, containers, barrier)) for _ in range(workers)])
    assert good, f"round {number}"


def work(number: int, containers: recorder.ContainerManager, barrier: Barrier) -> None:
    barrier.wait(recorder.DEADLINE)
    with containers:
        with containers.postgres.connection.cursor() as cursor:
            cursor.execute("INSERT INTO work (pid) VALUES (%s)", (os.getpid(),))
        containers.redis.client.set("pid", os.getpid())
        # All are there now, and none sees another's data.
        barrier.wait(recorder.DEADLINE)
        with containers.postgres.connection.cursor() as cursor:
            cursor.execute("SELECT array_agg(pid) FROM work")
            assert cursor.fetchone() == ([os.getpid()],), "rows of another process"
        assert containers.redis.client.get("pid") == str(os.getpid()).encode(), "keys of another process"
        servers = recorder.count_postgres(os.environ[VARIABLE]) if barrier.wait(recorder.DEADLINE) == 0 else None
        recorder.record(containers, round=number, servers=servers)
        barrier.wait(recorder.DEADLINE)


if __name__ == "__main__":
    rounds, workers = map(int, sys.argv[1:])
    for number in range(rounds):
        if not ended_well([forked(functools.partial(one_round, number, workers))]):
            sys.exit(1)
