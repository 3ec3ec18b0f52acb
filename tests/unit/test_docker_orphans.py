"""Which containers count as lost: what is not to be seen from here is left alone."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

from containertest.backends.docker_orphans import is_orphan, point_of_view


class OrphanTests(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.here = {**point_of_view(), "containertest.folder": folder.name}
        self.lost = {**self.here, "containertest.folder": str(Path(folder.name, "lost"))}

    def test_container_is_lost_with_its_folder(self) -> None:
        self.assertFalse(is_orphan(self.here))
        self.assertTrue(is_orphan(self.lost))

    def test_folder_in_another_view_of_the_file_system_says_nothing(self) -> None:
        self.assertFalse(is_orphan({**self.lost, "containertest.mounts": "mnt:[1]"}))

    def test_reboot_ends_every_run(self) -> None:
        earlier = {"containertest.boot": "earlier"}
        self.assertTrue(is_orphan({**self.here, **earlier}))
        self.assertTrue(is_orphan({**self.lost, **earlier, "containertest.mounts": "mnt:[1]"}))

    def test_container_without_these_labels_is_left_alone(self) -> None:
        for name in point_of_view():
            self.assertFalse(is_orphan({key: value for key, value in self.lost.items() if key != name}))


if __name__ == "__main__":
    unittest.main()
