"""Servers that already run somewhere, given by a URL: nothing is started, nothing of theirs is removed."""

from __future__ import annotations

from collections.abc import Mapping

from containertest.backends.base import Handle, Owner, Server
from containertest.errors import BackendUnavailable
from containertest.spec import Endpoint, ServerSpec
from containertest.wait import dial

__all__ = ["ExternalBackend", "ExternalServer"]


class ExternalServer:
    """A server that somebody else runs, behind the interface of one that we started."""

    backend = "external"

    def __init__(self, endpoint: Endpoint, handle: Handle) -> None:
        self.endpoint = endpoint
        self.handle = handle

    def alive(self) -> bool:
        try:
            with dial(self.endpoint, timeout=5):
                return True
        except OSError:
            return False

    def logs(self, tail: int | None = None) -> str:
        return "(an external server keeps its log to itself)"

    def stop(self) -> None:
        """Leave it alone: it isn't ours."""


class ExternalBackend:
    """Takes servers from ``CONTAINERTEST_POSTGRES_URL`` and ``CONTAINERTEST_REDIS_URL``."""

    name = "external"

    def check(self, spec: ServerSpec) -> str:
        variable = f"CONTAINERTEST_{spec.service.upper()}_URL"
        if spec.endpoint is None:
            raise BackendUnavailable(
                f"The backend external needs the address of a running {spec.title}, but {variable} is not set.\n"
                f"Set {variable}, or another CONTAINERTEST_BACKEND (auto, docker, local)."
            )
        try:
            spec.probe(spec.endpoint)
        except Exception as error:
            raise BackendUnavailable(
                f"{spec.title} at {spec.endpoint.host}:{spec.endpoint.port} ({variable}) can't be used: "
                f"{' '.join(str(error).split())}\n"
                "Is it running, and are user, password and database right?"
            ) from error
        return f"{spec.title} at {spec.endpoint.host}:{spec.endpoint.port}"

    def start(self, spec: ServerSpec, owner: Owner) -> Server:
        assert spec.endpoint is not None, "check() comes first"
        return self.attach({"id": f"{spec.service}-external"}, spec.endpoint)

    def attach(self, handle: Handle, endpoint: Endpoint) -> Server:
        return ExternalServer(endpoint, handle)

    def remove(self, session: str, handles: Mapping[str, Handle]) -> None:
        """Nothing of the server is ours; what the run made in it, the session takes out."""
