from __future__ import annotations

import os

import recorder

from containertest import IntegrationTestCase

containers = recorder.new_manager()
setUpModule, tearDownModule = containers.start, containers.stop


class ThirdTests(IntegrationTestCase):
    containers = containers

    def test_four(self) -> None:
        recorder.work(containers, int(os.environ["CT_WORKERS"]))
