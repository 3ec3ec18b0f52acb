"""Runs the suite in several worker processes of one run at once: ``python -m tests.integration.crash.workers 2``."""

from __future__ import annotations

import multiprocessing
import sys
import unittest

from tests.integration.crash import suite


def work() -> None:
    result = unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromModule(suite))
    sys.exit(not result.wasSuccessful())


def main(count: int) -> int:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=work) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return max(abs(process.exitcode or 0) for process in processes)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
