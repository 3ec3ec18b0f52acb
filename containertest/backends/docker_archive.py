"""Files for a container, in the form that an engine takes them."""

from __future__ import annotations

import io
from collections.abc import Mapping

__all__ = ["archive"]


def archive(files: Mapping[str, str]) -> bytes:
    """A tar of ``files``: readable for every user of the container, since which one the server is differs."""
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, text in files.items():
            content = text.encode()
            info = tarfile.TarInfo(path.lstrip("/"))
            info.size, info.mode = len(content), 0o644
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
