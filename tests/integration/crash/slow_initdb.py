"""A PostgreSQL whose `initdb` stops half-way, for local runs and as an image; its log then says so."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

__all__ = ["IMAGE", "REACHED", "local_programs", "make_image"]

REACHED = "initdb has come half-way"
#: Of this process alone: two test runs on one engine must not remove each other's.
IMAGE = f"containertest-crash-initdb:{os.getpid()}"

#: The child that bootstraps goes on, has shared memory, and waits for its stopped parent.
SCRIPT = f"""#!/bin/sh
for word; do case $word in --pgdata=*) PGDATA=${{word#--pgdata=}};; esac; done
"$(dirname "$(readlink -f "$0")")/{{real}}" "$@" &
until [ -d "$PGDATA/global" ]; do sleep 0.01; done
kill -STOP $!
echo {REACHED}
wait
"""


def local_programs(folder: Path) -> str:
    """Put programs into ``folder``: the newest PostgreSQL's of this machine, its `initdb` wrapped."""
    from containertest.services.programs import postgres_folders

    real = next(path for path in postgres_folders() if (path / "initdb").is_file() and (path / "postgres").is_file())
    folder.mkdir()
    folder.chmod(0o755)
    script = folder / "initdb"
    script.write_text(SCRIPT.replace('$(dirname "$(readlink -f "$0")")/{real}', f"{real}/initdb"))
    script.chmod(0o755)
    (folder / "postgres").symlink_to(real / "postgres")
    return str(folder)


def make_image(api: Any, base: str) -> str:
    """Make `IMAGE` from the image ``base``; does nothing if it is there."""
    container = api.create_container(base, command=["true"], entrypoint=[])["Id"]
    try:
        folder = _initdb_folder(api, container)
        script = SCRIPT.replace("{real}", "initdb-of-the-image").encode()
        content, _ = api.get_archive(container, f"{folder}/initdb")
        api.put_archive(container, folder, _renamed(b"".join(content), "initdb-of-the-image"))
        api.put_archive(container, folder, _archive("initdb", script))
        config = api.inspect_image(base)["Config"]
        name, _, tag = IMAGE.partition(":")
        api.commit(container, name, tag, conf={"Entrypoint": config["Entrypoint"], "Cmd": config["Cmd"]})
    finally:
        api.remove_container(container, v=True)
    return IMAGE


def _initdb_folder(api: Any, container: str) -> str:
    """Where `initdb` is: in the official images below /usr/local or /usr/lib/postgresql."""
    environment = dict(item.split("=", 1) for item in api.inspect_container(container)["Config"]["Env"])
    for folder in environment["PATH"].split(":"):
        try:
            api.get_archive(container, f"{folder}/initdb")
        except Exception:
            continue
        return str(folder)
    raise FileNotFoundError("no initdb in the image")


def _renamed(archive: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        member = tar.getmembers()[0]
        content = tar.extractfile(member)
        assert content is not None, "initdb is a link"
        return _archive(name, content.read())


def _archive(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(content), 0o755
        tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
