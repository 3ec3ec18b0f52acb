"""The table of crashes: where a run is hit, by what, how it ends, and what the next one must do."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

from tests.integration.crash import killing, marks
from tests.integration.crash.run import SUITE, WORKERS, Run

__all__ = ["CASES", "Case"]


@dataclass(frozen=True)
class Case:
    """One crash.

    :param name: completes "nothing is left after …".
    :param place: where the run waits; see `marks.PLACE`.
    :param hit: what is done to it then, or None: it does it itself.
    :param status: how it ends: a process' status, negative for a signal; None: it may be any.
    :param command: what runs.
    :param count: how many processes must have come to the place.
    :param goes_on: whether the rest of it is to go on after the hit.
    :param remedy: what removes the rest, where the guard can't: "prune" or "next run".
    """

    name: str
    place: str
    hit: Callable[[Run], None] | None
    status: int | None
    command: tuple[str, ...] = SUITE
    count: int = 1
    goes_on: bool = False
    remedy: str = ""


def send(number: signal.Signals, whole_group: bool = False) -> Callable[[Run], None]:
    def hit(run: Run) -> None:
        (os.killpg if whole_group else os.kill)(run.pid, number)

    return hit


def kill_server(service: str) -> Callable[[Run], None]:
    return lambda run: killing.kill_server(run.server(service))


def kill_guard(run: Run) -> None:
    for pid in run.guards():
        os.kill(pid, signal.SIGKILL)


def kill_guard_and_runner(run: Run) -> None:
    kill_guard(run)
    os.kill(run.pid, signal.SIGKILL)


def kill_one_worker(run: Run) -> None:
    os.kill(min(marks.reached(run.marks)), signal.SIGKILL)


def kill_all_workers(run: Run) -> None:
    for pid in marks.reached(run.marks):
        os.kill(pid, signal.SIGKILL)


def kill_workers_and_runner(run: Run) -> None:
    os.kill(run.pid, signal.SIGKILL)
    kill_all_workers(run)


INT, TERM, KILL = signal.SIGINT, signal.SIGTERM, signal.SIGKILL

CASES = (
    Case("a_normal_exit", "", None, 0),
    Case("an_exception_in_a_migration", "migrations:raise", None, 1),
    Case("an_exception_in_setUpModule", "module:raise", None, 1),
    Case("an_exception_in_setUpClass", "class:raise", None, 1),
    Case("an_exception_in_a_test", "test:raise", None, 1),
    Case("os_exit_in_a_migration", "migrations:exit", None, 7),
    Case("os_exit_in_a_test", "test:exit", None, 7),
    Case("sigint_in_a_test", "test", send(INT, whole_group=True), -INT),
    Case("sigint_during_migrations", "migrations", send(INT, whole_group=True), -INT),
    Case("sigterm_in_a_test", "test", send(TERM), -TERM),
    Case("sigterm_of_the_group_during_migrations", "migrations", send(TERM, whole_group=True), -TERM),
    Case("sigkill_of_the_runner_in_a_test", "test", send(KILL), -KILL),
    Case("sigkill_of_the_runner_during_migrations", "migrations", send(KILL), -KILL),
    Case("sigkill_of_one_worker", "test", kill_one_worker, 9, WORKERS, 2, goes_on=True),
    Case("sigkill_of_all_workers", "test", kill_all_workers, 9, WORKERS, 2),
    Case("sigkill_of_all_workers_and_the_runner", "test", kill_workers_and_runner, -KILL, WORKERS, 2),
    Case("sigkill_of_one_worker_during_migrations", "migrations", kill_one_worker, 9, WORKERS, goes_on=True),
    Case("sigkill_of_the_guard", "test", kill_guard, 0, goes_on=True),
    Case("sigkill_of_the_guard_of_workers", "test", kill_guard, 0, WORKERS, 2, goes_on=True),
    Case("sigkill_of_the_guard_during_migrations", "migrations", kill_guard, 0, goes_on=True),
    Case("sigkill_of_the_guard_and_the_runner", "test", kill_guard_and_runner, -KILL, remedy="next run"),
    Case("sigkill_of_both_during_migrations", "migrations", kill_guard_and_runner, -KILL, remedy="prune"),
    Case("sigkill_of_the_postmaster", "test", kill_server("postgres"), 1, goes_on=True),
    Case("sigkill_of_the_postmaster_during_migrations", "migrations", kill_server("postgres"), 1, goes_on=True),
    Case("sigkill_of_redis", "test", kill_server("redis"), 1, goes_on=True),
)
