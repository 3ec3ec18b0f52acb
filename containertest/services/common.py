"""What the services share: which image was chosen, and when two specs mean the same server."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from containertest.errors import ConfigError
from containertest.spec import Endpoint
from containertest.wait import WaitStrategy

if TYPE_CHECKING:
    from containertest.settings import Settings

__all__ = ["Met", "check", "chosen_image", "identity"]


_OPTION = re.compile(r"[A-Za-z_][A-Za-z0-9_.$-]*")


class Met(NamedTuple):
    """A server that has answered.

    :param endpoint: where, and with which password from now on.
    :param version: as in "15.4".
    :param connection: by which it answered, still open; None if it was closed.
    """

    endpoint: Endpoint
    version: str
    connection: Any


def check(server: Any, ours: Mapping[str, str]) -> None:
    """Look at the values that a user gave a `Postgres` or a `Redis`.

    :param ours: options that are not for the user, and what to use instead.
    :raises ConfigError: if one is of a wrong type.
    """
    kind = type(server).__name__
    for name, wanted, allowed in (
        ("image", str, "an image name"),
        ("password", (str, type(None)), "a text or None"),
        ("options", Mapping, "a dict of server settings"),
        ("username", (str, type(None)), "a text of 1 to 50 bytes"),
        ("dbname", (str, type(None)), "a text of 1 to 50 bytes"),
        ("memory", (str, type(None)), "an amount such as '512m', or None"),
        ("wait", WaitStrategy, "Connection(), LogLine(text) or ListeningPort() of containertest.wait"),
    ):
        value = getattr(server, name, None)
        if not isinstance(value, wanted) or (name == "image" and not value):
            shown = f"a {type(value).__name__}" if name == "password" else repr(value)
            raise ConfigError(f"{kind}({name}=…) is {shown}, but must be {allowed}.")
        _check_text(f"{kind}({name}=…)", value)
    for name, value in server.options.items():
        _check_option(f"{kind}(options=…)", name, value)
        if instead := ours.get(str(name).lower()):
            raise ConfigError(f"{kind}(options=…) has {name!r}, which is not to be set: {instead}.")


def _check_option(where: str, name: Any, value: Any) -> None:
    if not isinstance(name, str) or not _OPTION.fullmatch(name):
        raise ConfigError(f"{where} has {name!r}, which is no name of a setting: letters, digits, '_', '-' and '.'.")
    if not isinstance(value, (str, int, float, os.PathLike)):
        raise ConfigError(f"{where} has {name!r}: {value!r}, but a value must be a text, a number, True or False.")
    _check_text(f"{where}, {name!r},", os.fspath(value) if isinstance(value, os.PathLike) else value)


def _check_text(where: str, value: Any) -> None:
    """Refuse what no server can be told, without showing it: it may be a password."""
    if isinstance(value, str) and ("\0" in value or not _is_unicode(value)):
        raise ConfigError(f"{where} has a NUL or half a surrogate pair in it, which is no text.")


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def chosen_image(settings: Settings, service: str, image: str, default: str) -> tuple[str, str]:
    """The image to use and what named it.

    One named in the environment wins over one in code, so that a CI can pin or mirror; one in a file only
    replaces the default.
    """
    name = f"{service}_image"
    source = settings.source(name)
    setting: str | None = getattr(settings, name)
    if setting and (source.startswith("CONTAINERTEST_") or image == default):
        return setting, source
    return image, "default" if image == default else f"{service.capitalize()}(image=…)"


def identity(
    settings: Settings,
    service: str,
    image: str,
    options: Mapping[str, str],
    memory: str | None,
    username: str | None,
    password: str | None,
) -> str:
    """A digest of all that makes a server what it is; a password counts only where the user chose it."""
    parts = [
        service,
        settings.backend,
        image,
        sorted(options.items()),
        memory,
        username,
        password,
        getattr(settings, f"{service}_url"),
        getattr(settings, f"{service}_bin"),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
