"""The Docker context that is chosen, as docker's own client chooses it; read without docker's library.

``DOCKER_HOST`` goes before ``DOCKER_CONTEXT``, and that before the current context of ``config.json``. Source: the
manual of ``docker context``. What a context says lies beside that file, in
``contexts/meta/<sha256 of its name>/meta.json``, its TLS files in ``contexts/tls/<the same>/docker``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from containertest.errors import BackendUnavailable, ConfigError

__all__ = ["Context", "chosen", "home"]


class Context(NamedTuple):
    """A context that is not docker's default one.

    :param host: the engine, as in ``DOCKER_HOST``.
    :param certificates: the folder of its TLS files; None if it has none.
    :param verified: whether the engine's own certificate is looked at.
    """

    name: str
    source: str
    host: str
    certificates: Path | None
    verified: bool

    def __str__(self) -> str:
        return f"{self.host} (the Docker context {self.name!r}, by {self.source})"

    def variables(self) -> dict[str, str]:
        """The context in docker's other variables, which its library reads."""
        if self.certificates is None:
            return {"DOCKER_HOST": self.host}
        tls = {"DOCKER_CERT_PATH": str(self.certificates), "DOCKER_TLS_VERIFY": "1" if self.verified else ""}
        return {"DOCKER_HOST": self.host, **tls}


def chosen() -> Context | None:
    """The context that is chosen; None for the default one, and where something goes before contexts.

    :raises ConfigError: if ``DOCKER_CONTEXT`` names one that does not exist.
    :raises BackendUnavailable: if the current context does not exist.
    """
    if os.environ.get("DOCKER_HOST") or b"tc.host" in _content(Path(home(), ".testcontainers.properties")):
        return None
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path(home(), ".docker"))
    variable = os.environ.get("DOCKER_CONTEXT")
    name = variable or _read(folder / "config.json").get("currentContext")
    if not isinstance(name, str) or name in ("", "default"):
        return None
    source = "DOCKER_CONTEXT" if variable else f"currentContext in {folder / 'config.json'}"
    if context := _found(folder / "contexts", name, source):
        return context
    # Without a word of the user's own, another backend may do.
    raise (ConfigError if variable else BackendUnavailable)(
        f"There is no Docker context {name!r} ({source}) in {folder / 'contexts'}.\n"
        f"There are: {', '.join(['default', *sorted(_names(folder / 'contexts'))])}. Name one of them, or an engine in "
        "DOCKER_HOST."
    )


def home() -> str:
    """The user's folder; HOME may be missing, or another user's that can't be looked into."""
    return os.path.expanduser("~")


def _found(folder: Path, name: str, source: str) -> Context | None:
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    meta = _read(folder / "meta" / digest / "meta.json")
    endpoints = meta.get("Endpoints")
    engine = endpoints.get("docker") if isinstance(endpoints, dict) else None
    if not isinstance(engine, dict) or not isinstance(host := engine.get("Host"), str):
        return None
    certificates = folder / "tls" / digest / "docker"
    has_some = os.path.isfile(certificates / "ca.pem")
    return Context(name, source, host, certificates if has_some else None, not engine.get("SkipTLSVerify"))


def _names(folder: Path) -> Iterator[str]:
    for meta in folder.glob("meta/*/meta.json"):
        if name := _read(meta).get("Name"):
            yield str(name)


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(_content(file) or b"{}")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""
