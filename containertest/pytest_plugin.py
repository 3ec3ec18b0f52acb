"""pytest's way into the test cases: a test is framed by the baseline and a look at what it left, fixtures included.

pytest loads this module in each project that has the library installed, so it imports nothing: where no class of ours
was collected, `containertest.case` is not loaded either.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from containertest.case import IntegrationTestCase

__all__ = ["pytest_fixture_setup", "pytest_runtest_call"]


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> None:
    """Begin a test of ours before the first of its own fixtures, to which ``setup_method`` belongs.

    pytest sets up those of wider scopes first, ``setUpModule`` and ``setUpClass`` among them.
    """
    if fixturedef.scope == "function" and (case := _case(request.node)):
        _enter(request.node, case)
        case._prepared = True


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Begin a test of ours that has no fixtures of its own."""
    if case := _case(item):
        _enter(item, case)


def _enter(item: pytest.Item, case: IntegrationTestCase) -> None:
    if not case._framed:
        case.enter()
        # As the first one it is called last: after the test's fixtures, before those of its class.
        item.addfinalizer(case.leave)


def _case(item: Any) -> IntegrationTestCase | None:
    """The test case of an item, if it is one of ours, and not to be skipped."""
    module = sys.modules.get("containertest.case")
    klass = getattr(item, "cls", None)
    if not (module and isinstance(klass, type) and issubclass(klass, module.ServerTestCase)):
        return None
    skipped = getattr(klass, "__unittest_skip__", False) or getattr(item.obj, "__unittest_skip__", False)
    return None if skipped else item.instance
