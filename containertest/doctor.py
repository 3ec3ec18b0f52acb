"""``containertest doctor``: what each backend finds here and what is missing."""

from __future__ import annotations

import textwrap

from containertest import backends
from containertest.errors import ContainerTestError
from containertest.services import postgres, redis
from containertest.settings import Settings
from containertest.spec import ServerSpec

__all__ = ["report"]


def report() -> int:
    """Print for each server and backend whether it works; 0 if each server has one that does, else 1."""
    settings = Settings.load()
    specs = (
        postgres.spec(postgres.Postgres(), settings, "unused"),
        redis.spec(redis.Redis(), settings, "unused"),
    )
    print(f"The setting CONTAINERTEST_BACKEND is {settings.backend} ({settings.source('backend')}).")
    works = [_report_one(spec, settings.backend) for spec in specs]
    return 0 if all(works) else 1


def _report_one(spec: ServerSpec, wanted: str) -> bool:
    print(f"\n{spec.title}")
    taken = ""
    for name in ("external", "docker", "local"):
        if name == "external" and spec.endpoint is None and wanted != "external":
            print("  external  not set up (no URL given)")
            continue
        try:
            found = backends.get(name).check(spec)
        except ContainerTestError as error:
            print(f"  {name:<9} no: {textwrap.indent(str(error), ' ' * 12).strip()}")
            continue
        print(f"  {name:<9} yes: {found}")
        # Where a URL is given, auto takes that server or fails.
        possible = "external" if wanted == "auto" and spec.endpoint else wanted
        taken = taken or (name if possible in ("auto", name) else "")
    print(f"  => {'taken: ' + taken if taken else 'NO BACKEND WORKS'}")
    return bool(taken)
