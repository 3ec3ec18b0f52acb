"""What is built works where there is no checkout. pip downloads setuptools for that, as for everybody who builds."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest
import zipfile
from pathlib import Path

from tests import support
from tests.support import TOP, clean_environment

PACKAGE = TOP / "containertest"
#: Of the checkout, what is no part of the project.
IGNORED = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "htmlcov")


def run(*arguments: str | Path, cwd: Path, **variables: str) -> str:
    """Run ``python ARGUMENT …``, and return what it prints; fail with that if it fails."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=clean_environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"{arguments} ended with status {done.returncode}:\n{done.stdout}")
    return done.stdout


@functools.cache
def built() -> Path:
    """A folder with an sdist of this checkout, and a wheel that was made from the sdist."""
    folder = Path(tempfile.mkdtemp(prefix="ct-packaging-"))
    unittest.addModuleCleanup(shutil.rmtree, folder)
    unittest.addModuleCleanup(built.cache_clear)
    shutil.copytree(TOP, folder / "source", ignore=IGNORED)
    shutil.copy(TOP / ".ruff.toml", folder / "source")
    run("-m", "build", "--outdir", folder, cwd=folder / "source")
    return folder


def files(suffixes: tuple[str, ...], *folders: Path) -> set[str]:
    """The files below ``folders`` that end so, relative to the checkout."""
    found = (path for folder in folders for path in folder.rglob("*"))
    return {str(path.relative_to(TOP)) for path in found if path.name.endswith(suffixes)}


class ContentTests(unittest.TestCase):
    def test_wheel_has_every_module_every_data_file_and_nothing_else(self) -> None:
        (wheel,) = built().glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            names = {name for name in archive.namelist() if ".dist-info/" not in name}
        self.assertEqual(names, files((".py", ".sql", ".sh", ".conf", "py.typed"), PACKAGE))

    def test_sdist_has_the_tests_too(self) -> None:
        (sdist,) = built().glob("*.tar.gz")
        with tarfile.open(sdist) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        wanted = files((".py", ".sql", ".sh", "py.typed"), PACKAGE, TOP / "tests")
        self.assertEqual(wanted - names, set())
        texts = {
            "README.rst",
            "CHANGELOG.rst",
            "CONTRIBUTING.rst",
            "LICENSE",
            "setup.cfg",
            "Makefile",
            "docs/design.rst",
        }
        self.assertLessEqual(texts, names)

    def test_metadata_names_what_is_needed(self) -> None:
        (wheel,) = built().glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            text = archive.read(name).decode()
        for line in ("Requires-Python: >=3.10", "Requires-Dist: testcontainers>=4.15", "Provides-Extra: embedded"):
            self.assertIn(f"\n{line}\n", text)


class InstalledTests(unittest.TestCase):
    """The sample's tests, as a user would copy them, with the wheel instead of the checkout."""

    @classmethod
    def setUpClass(cls) -> None:
        support.require_any()
        (wheel,) = built().glob("*.whl")
        cls.folder = Path(tempfile.mkdtemp(prefix="ct-installed-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        run("-m", "pip", "install", "-qq", "--no-deps", "--target", cls.folder / "site", wheel, cwd=cls.folder)
        for name in ("sample", "testdata"):
            # Without the project that other tests run.
            ignored = shutil.ignore_patterns("project", "__pycache__")
            shutil.copytree(TOP / "tests" / name, cls.folder / "project/tests" / name, ignore=ignored)
        (cls.folder / "project/tests/__init__.py").touch()

    def run_there(self, *arguments: str) -> str:
        return run(*arguments, cwd=self.folder / "project", PYTHONPATH=str(self.folder / "site"))

    def test_installed_package_is_the_one_that_is_used(self) -> None:
        found = self.run_there("-c", "import containertest; print(containertest.__file__)")
        self.assertEqual(found.strip(), str(self.folder / "site/containertest/__init__.py"))

    def test_samples_tests_pass_by_unittest_discover(self) -> None:
        self.assertRegex(self.run_there("-m", "unittest", "discover"), r"\nRan \d{2,} tests in .*\n\nOK\n")

    def test_samples_tests_pass_by_pytest(self) -> None:
        self.assertRegex(self.run_there("-m", "pytest", "-q", "-p", "no:cacheprovider"), r"\n\d{2,} passed\b")

    def test_console_script_is_the_command_line(self) -> None:
        help_text = self.run_there(str(self.folder / "site/bin/containertest"), "--help")
        self.assertIn("doctor", help_text)


if __name__ == "__main__":
    unittest.main()
