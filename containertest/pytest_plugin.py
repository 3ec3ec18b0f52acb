"""pytest's way into the test cases: a test is framed by the baseline and a look at what it left, fixtures included.

pytest loads this module in each project that has the library installed, so it imports nothing of ours. Where no class
of ours was collected, `containertest.case` is not loaded either.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from containertest.case import _ServerTestCase
    from containertest.frame import Frame

#: By this name pytest knows the modules whose frames it leaves out of the tracebacks of test cases.
__unittest = True

__all__ = ["pytest_fixture_setup", "pytest_runtest_call"]


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> None:
    """Begin a test of ours before the first of its own fixtures, to which ``setup_method`` belongs.

    pytest sets up those of wider scopes first, ``setUpModule`` and ``setUpClass`` among them.
    """
    if fixturedef.scope == "function" and (frame := _frame(request.node)):
        frame.prepared = True


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Begin a test of ours that has no fixtures of its own."""
    _frame(item)


def _frame(item: Any) -> Frame | None:
    """The frame around a test, if it is one of ours, and not to be skipped."""
    module = sys.modules.get("containertest.case")
    klass = getattr(item, "cls", None)
    if not (module and isinstance(klass, type) and issubclass(klass, module._ServerTestCase)):
        return None
    if getattr(klass, "__unittest_skip__", False) or getattr(item.obj, "__unittest_skip__", False):
        return None
    case: _ServerTestCase = item.instance
    if not case._frame:
        case._enter(outer=True)
        # As the item's first finalizer it is called last: after its fixtures have ended, before those of its class.
        item.addfinalizer(functools.partial(_end, item, case))
    return case._frame


def _end(item: pytest.Item, case: _ServerTestCase) -> None:
    try:
        # With --pdb pytest has put off tearDown, which may be what closes connections.
        if case._frame and not item.config.getoption("usepdb", False):
            case._frame.look()
    finally:
        case._leave()
