"""Projects whose tests are run by each of the runners that people use."""

from __future__ import annotations

import unittest
from typing import ClassVar

from tests import support
from tests.integration.user_project import Project, Run

PYTEST = ("-m", "pytest", "-p", "no:cacheprovider", "-q")
PARALLEL = ("-m", "unittest_parallel", "-j", "2", "--level")

BASE = """
    from containertest import ContainerManager, IntegrationTestCase

    containers = ContainerManager(migrations="schema.sql")

    class Base(IntegrationTestCase):
        containers = containers

        def add(self, name):
            with self.db.cursor() as cursor:
                cursor.execute("INSERT INTO t (name) VALUES (%s)", (name,))
            self.redis.incr("added")

        def check(self, *names):
            with self.db.cursor() as cursor:
                cursor.execute("SELECT id, name FROM t ORDER BY id")
                found = cursor.fetchall()
            self.assertEqual([name for _, name in found], list(names))
            self.assertEqual([id for id, _ in found], list(range(1, len(names) + 1)))
            self.assertEqual(int(self.redis.get("added") or 0), len(names))
"""


class RunnerCase(unittest.TestCase):
    """Runs projects on a backend that is there: none of this depends on which one it is."""

    backend: ClassVar[str]

    @classmethod
    def setUpClass(cls) -> None:
        support.require_any()
        cls.backend = next(name for name in reversed(support.BACKENDS) if not support.why_not(name))

    def project(self, **files: str) -> Project:
        project = Project(self, base=BASE, **files)
        project.write("schema.sql", "CREATE TABLE t (id serial PRIMARY KEY, name text);")
        return project

    def run_in(self, project: Project, *arguments: str, **variables: str) -> Run:
        return project.run(*arguments, CONTAINERTEST_BACKEND=self.backend, **variables)

    def passes(self, project: Project, *arguments: str, tests: int, **variables: str) -> Run:
        run = self.run_in(project, *arguments, **variables)
        self.assertEqual(run.status, 0, run.output)
        self.assertRegex(run.output, rf"Ran {tests} tests?|{tests} passed")
        return run
