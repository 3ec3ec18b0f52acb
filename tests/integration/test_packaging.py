"""What the wheel contains. pip downloads setuptools for that, as for everybody who builds one."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile
from pathlib import Path

from tests.support import TOP


class WheelTests(unittest.TestCase):
    def test_wheel_has_every_module_sql_file_and_the_type_marker(self) -> None:
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        source = folder / "source"
        ignored = shutil.ignore_patterns(".*", "tests", "build", "dist", "*.egg-info", "__pycache__", "benchmarks")
        shutil.copytree(TOP, source, ignore=ignored)
        done = subprocess.run(
            [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", str(folder), str(source)],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        (wheel,) = folder.glob("containertest-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            names = set(archive.namelist())
        package = TOP / "containertest"
        wanted = {
            str(path.relative_to(TOP))
            for path in package.rglob("*")
            if path.suffix in (".py", ".sql", ".lua") or path.name == "py.typed"
        }
        self.assertEqual({name for name in names if name.startswith("containertest/")}, wanted)


if __name__ == "__main__":
    unittest.main()
