from __future__ import annotations

import os

import recorder

from containertest import IntegrationTestCase

containers = recorder.new_manager()
setUpModule, tearDownModule = containers.start, containers.stop
WORKERS = int(os.environ["CT_WORKERS"])


class FirstTests(IntegrationTestCase):
    containers = containers

    def test_one(self) -> None:
        recorder.work(containers, WORKERS)

    def test_two(self) -> None:
        recorder.work(containers, WORKERS)


class SecondTests(IntegrationTestCase):
    containers = containers

    def test_three(self) -> None:
        recorder.work(containers, WORKERS)
