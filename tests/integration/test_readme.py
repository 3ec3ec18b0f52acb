"""The documents are run: their doctests, and the README's code blocks as a user would save them."""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path

import alembic.command
import alembic.config

from tests import support

ALEMBIC_VERSION = """
from alembic import op

revision, down_revision = "1", None


def upgrade():
    op.execute("CREATE TABLE users (id serial PRIMARY KEY)")
"""

README = support.TOP / "README.rst"
DOCUMENTS = [
    README,
    support.TOP / "CONTRIBUTING.rst",
    support.TOP / "CHANGELOG.rst",
    *(support.TOP / "docs").glob("*.rst"),
]


def load_tests(loader: unittest.TestLoader, tests: unittest.TestSuite, pattern: str | None) -> unittest.TestSuite:
    names = map(str, DOCUMENTS)
    tests.addTest(doctest.DocFileSuite(*names, module_relative=False, setUp=_enter, tearDown=_leave))
    return tests


def _enter(test: doctest.DocTest) -> None:
    support.require_any()
    test.globs["_before"] = os.getcwd()
    folder = test.globs["_folder"] = tempfile.mkdtemp(prefix="ct-readme-")
    shutil.copy(support.TOP / "containertest" / "sample" / "schema.sql", folder)
    os.chdir(folder)


def _leave(test: doctest.DocTest) -> None:
    os.chdir(test.globs.get("_before", os.getcwd()))
    shutil.rmtree(test.globs.get("_folder", ""), ignore_errors=True)


def code_blocks() -> list[str]:
    """The Python blocks of the README, in order."""
    found = re.findall(r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)", README.read_text(encoding="utf-8"), re.M)
    return [textwrap.dedent(block) for block in found]


class CodeBlockTests(unittest.TestCase):
    def setUp(self) -> None:
        support.require_any()
        self.folder = Path(tempfile.mkdtemp(prefix="ct-readme-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def run_block(self, block: str) -> subprocess.CompletedProcess[str]:
        (self.folder / "test_users.py").write_text(block, encoding="utf-8")
        return subprocess.run(
            [sys.executable, "-m", "unittest"],
            cwd=self.folder,
            env=support.clean_environment(),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def test_first_test_is_15_lines_and_runs_as_it_stands_in_an_empty_folder(self) -> None:
        block = code_blocks()[0]
        self.assertLessEqual(len(block.strip().splitlines()), 15)
        done = self.run_block(block)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("Ran 1 test", done.stderr)

    def test_second_block_runs_with_the_samples_schema_and_fixtures(self) -> None:
        shutil.copy(support.TOP / "containertest/sample/schema.sql", self.folder / "schema.sql")
        (self.folder / "fixtures.sql").write_text(
            "INSERT INTO users (email, name) VALUES ('admin@example.com', 'Admin');\n", encoding="utf-8"
        )
        done = self.run_block(code_blocks()[1])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("Ran 1 test", done.stderr)

    def test_block_with_alembic_runs_in_a_project_of_alembic(self) -> None:
        config = alembic.config.Config(self.folder / "alembic.ini", stdout=io.StringIO())
        with contextlib.redirect_stdout(config.stdout):
            alembic.command.init(config, str(self.folder / "migrations"))
        (self.folder / "migrations/versions/1_users.py").write_text(ALEMBIC_VERSION, encoding="utf-8")
        done = self.run_block(code_blocks()[2])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("Ran 1 test", done.stderr)


class TextTests(unittest.TestCase):
    def test_every_setting_stands_in_the_table(self) -> None:
        from containertest.settings import PREFIX, Settings

        text = README.read_text(encoding="utf-8")
        for name in Settings.__dataclass_fields__:
            if name != "sources":
                self.assertIn(f"``{PREFIX}{name.upper()}``", text)

    def test_every_public_name_is_mentioned(self) -> None:
        import containertest

        text = README.read_text(encoding="utf-8")
        for name in containertest.__all__:
            self.assertIn(name, text)

    def test_documents_are_valid_restructuredtext(self) -> None:
        import docutils.core

        for path in DOCUMENTS:
            with self.subTest(path.name), tempfile.TemporaryFile("w+") as messages:
                docutils.core.publish_doctree(
                    path.read_text(encoding="utf-8"),
                    settings_overrides={"warning_stream": messages, "report_level": 2},
                )
                messages.seek(0)
                self.assertEqual(messages.read(), "")

    def test_files_that_the_design_names_are_there(self) -> None:
        text = (support.TOP / "docs" / "design.rst").read_text(encoding="utf-8")
        for name in sorted(set(re.findall(r"[\w/]+\.(?:py|sql|rst)\b", text))):
            with self.subTest(name):
                self.assertTrue(list(support.TOP.rglob(name)), f"docs/design.rst names {name}, which is not there")


if __name__ == "__main__":
    unittest.main()
