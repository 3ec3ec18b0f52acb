"""Where servers run. `choose` decides which backend takes a server; `get` loads one by name."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable

from containertest.backends.base import Backend
from containertest.errors import BackendUnavailable
from containertest.spec import ServerSpec

__all__ = ["NAMES", "choose", "get"]

#: Backend -> module and class; loaded late, since each has libraries of its own.
NAMES = {
    "docker": ("containertest.backends.docker", "DockerBackend"),
    "local": ("containertest.backends.local", "LocalBackend"),
    "external": ("containertest.backends.external", "ExternalBackend"),
}

log = logging.getLogger("containertest")


def get(name: str) -> Backend:
    """Load the backend ``name``, one of `NAMES`."""
    module, attribute = NAMES[name]
    backend: Backend = getattr(importlib.import_module(module), attribute)()
    return backend


def choose(spec: ServerSpec, wanted: str, load: Callable[[str], Backend] = get) -> Backend:
    """Choose the backend that runs ``spec``.

    :param wanted: the setting: "docker", "local" and "external" are taken or fail; "auto" takes a given URL,
        else a Docker engine that has or can pull the image, else local programs.
    :raises BackendUnavailable: if none works; the message lists what was tried, with a remedy for each.
    """
    if wanted == "auto":
        return _first_that_works(spec, load)
    backend = load(wanted)
    backend.check(spec)
    return backend


def _first_that_works(spec: ServerSpec, load: Callable[[str], Backend]) -> Backend:
    failures: list[tuple[str, BackendUnavailable]] = []
    for name in ("external",) if spec.endpoint else ("docker", "local"):
        backend = load(name)
        try:
            backend.check(spec)
        except BackendUnavailable as error:
            failures.append((name, error))
            continue
        for tried, failure in failures:
            log.log(_severity(failure), "%s does not run on %s, but on %s: %s", spec.title, tried, name, failure)
        return backend
    tried = "\n".join(f"- {name}: {error}" for name, error in failures)
    raise BackendUnavailable(f"{spec.title} can't run here. Tried:\n{tried}") from failures[-1][1]


def _severity(failure: BackendUnavailable) -> int:
    """A missing engine is a normal thing; an engine that lacks the image is a surprise worth a warning."""
    return logging.WARNING if getattr(failure, "surprising", False) else logging.INFO
