"""What the services share: which image was chosen, and when two specs mean the same server."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from containertest.settings import Settings

__all__ = ["chosen_image", "identity"]


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
