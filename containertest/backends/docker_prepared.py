"""Prepared images: data as a server's first start leaves them, kept for the next run.

A prepared image is the server's image and one layer with the data. It is made at the end of a run by a container
of its own that only makes the data, with a random password. That password is in a file of this user's cache folder,
with the id of the image that it belongs to::

    ~/.cache/containertest/         mode 0700
        prepare.lock                held while an image is made
        prepared-<key>.json         {"image": id or null, "password": …}; null: this image can't be prepared

The key is a digest of all that the data depend on. An image without its file is of no use, and the other way round:
then a server starts as if there were neither.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from containertest.backends.cache import cache_folder
from containertest.backends.docker_archive import archive
from containertest.backends.docker_engine import Engine, Image, inspected, tolerating
from containertest.backends.docker_labels import LABEL, mine
from containertest.spec import ContainerSpec, Preparation

__all__ = ["REPOSITORY", "Kept", "Recipe", "prepare", "prune", "recipe_of"]

#: The name of all prepared images.
REPOSITORY = "containertest-prepared"
#: To be raised when data that older versions of this library have made must not be used any more.
VERSION = 1
#: Seconds that making the data may take.
TIMEOUT = 120

#: What older engines say is the name of an image without one; newer ones say nothing.
_NAMELESS = "<none>:<none>"
_BASE, _GENERATION = f"{LABEL}.prepared.base", f"{LABEL}.prepared.generation"


@dataclass(frozen=True)
class Kept:
    """A prepared image, and the password of its data."""

    image: str
    password: str


@dataclass(frozen=True)
class Recipe:
    """All that it takes to make a prepared image; goes through JSON, so that the guard can have it.

    :param base: name of the image that it is made from, and ``base_id`` its id.
    :param engine: as in ``DOCKER_HOST``: what is kept in one is not in the others.
    """

    base: str
    base_id: str
    entrypoint: tuple[str, ...]
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    secret_file: str
    tmpfs: tuple[str, ...]
    engine: str

    @property
    def key(self) -> str:
        return _digest(asdict(self))

    @property
    def tag(self) -> str:
        """The key, and this cache folder: an image that another one knows of keeps its name."""
        return f"{self.key}-{_digest(str(cache_folder()))[:8]}"

    @property
    def generation(self) -> str:
        """Equal for those of the same base image and the same version of this library."""
        return _digest(self.base_id, self.entrypoint)

    def kept(self, engine: Engine) -> Kept | None:
        """What an earlier run has prepared, if it is there."""
        entry = self._read()
        if not entry or not entry["image"]:
            return None
        if not engine.has(entry["image"]):
            self.forget()
            return None
        return Kept(entry["image"], entry["password"])

    def is_known(self) -> bool:
        """Whether an earlier run has prepared it, or has found that it can't be."""
        return self._read() is not None

    def keep(self, image: str | None, password: str) -> None:
        """Note a prepared image, or that there can't be one.

        :raises OSError: if it can't be noted.
        """
        file = _file(self.key)
        new = file.with_name(f"new-{secrets.token_hex(8)}")
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
            json.dump({"image": image, "password": password}, out)
        new.replace(file)

    def forget(self) -> None:
        """Drop the note of a prepared image that is not there any more, or does not work."""
        _forget(self.key)

    def _read(self) -> dict[str, Any] | None:
        try:
            entry: dict[str, Any] = json.loads(_file(self.key).read_text(encoding="utf-8"))
            whole = isinstance(entry["password"], str) and isinstance(entry["image"], (str, type(None)))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return entry if whole else None


def recipe_of(container: ContainerSpec, image: Image, engine: str) -> Recipe | None:
    """How to prepare ``image`` for ``container``; None if that can't be done."""
    stand_in, preparation = container.entrypoint, container.preparation
    if stand_in is None or preparation is None or not image.starts_by(stand_in.replaces):
        return None
    variables = {**container.environment, **preparation.environment}
    variables.pop(preparation.secret, None)
    return Recipe(
        base=image.name,
        base_id=image.id,
        entrypoint=tuple(stand_in.command),
        arguments=tuple(preparation.arguments),
        environment=variables,
        secret_file=preparation.secret_file,
        tmpfs=tuple(container.tmpfs),
        engine=engine,
    )


def prepare(engine: Engine, recipe: Recipe, name: str, labels: Mapping[str, str]) -> None:
    """Make the image of ``recipe``, unless it is there already or somebody else is at it.

    :param name: of the container that makes the data; the caller has to remove it.
    :param labels: of the container, and with it of the image.
    :raises BackendUnavailable: if the engine refuses something.
    :raises OSError: if the data can't be made, or the password can't be kept.
    """
    with _alone(wait=False) as alone:
        if not alone or recipe.is_known():
            return
        password = secrets.token_urlsafe(24)
        with engine.asking(f"prepare the image {recipe.base!r}") as api:
            former = inspected(api, f"{REPOSITORY}:{recipe.tag}")
            image = _made(api, recipe, name, labels, password)
            recipe.keep(image, password)
            if image and former:
                # Its password is lost, as when a cache folder was emptied, and now its name is, too.
                with tolerating(404, 409):
                    api.remove_image(former["Id"])
            outdated = mine(f"{_BASE}={recipe.base}")
            _remove_images(api, outdated, keep=recipe.generation)


def _made(api: Any, recipe: Recipe, name: str, labels: Mapping[str, str], password: str) -> str | None:
    """Make the image and return its id; None if the image's entry point does not allow it."""
    config = {
        "Image": recipe.base_id,
        "Entrypoint": list(recipe.entrypoint),
        "Cmd": list(recipe.arguments),
        "Env": [f"{variable}={value}" for variable, value in recipe.environment.items()],
        "Labels": {**labels, _BASE: recipe.base, _GENERATION: recipe.generation},
        "HostConfig": {"NetworkMode": "none", "Tmpfs": dict.fromkeys(recipe.tmpfs, "")},
    }
    api.create_container_from_config(config, name)
    api.put_archive(name, "/", archive({recipe.secret_file: f"{password}\n"}))
    api.start(name)
    status = api.wait(name, timeout=TIMEOUT)["StatusCode"]
    if status == Preparation.IMPOSSIBLE:
        return None
    if status != 0:
        raise OSError(f"the container {name} ended with status {status}")
    return str(api.commit(name, repository=REPOSITORY, tag=recipe.tag)["Id"])


def prune(engine: Engine) -> list[str]:
    """Remove all prepared images of this user and this machine, with their passwords; return their names.

    :raises BackendUnavailable: if the engine can't be asked.
    """
    with _alone(wait=True), engine.asking("remove prepared images") as api:
        for file in _file("*").parent.glob(_file("*").name):
            file.unlink(missing_ok=True)
        return _remove_images(api, mine(_GENERATION))


def _remove_images(api: Any, filters: Mapping[str, list[str]], keep: str = "") -> list[str]:
    """Remove images but for those of the generation ``keep`` and those in use; return their names.

    One whose name another one has got is known by its id only.
    """
    removed = []
    for image in api.images(filters=filters):
        if keep and image["Labels"][_GENERATION] == keep:
            continue
        for name in [tag for tag in image["RepoTags"] or () if tag != _NAMELESS] or [image["Id"]]:
            with tolerating(404, 409, 500):
                api.remove_image(name)
                _forget(name.rpartition(":")[2].partition("-")[0])
                removed.append(name)
    return removed


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps([VERSION, *parts], sort_keys=True).encode()).hexdigest()[:20]


def _file(key: str) -> Path:
    """The file with a prepared image's password.

    :raises FileNotFoundError: if there is no folder for it that is only this user's.
    """
    if (folder := cache_folder()) is None:
        raise FileNotFoundError("no folder to keep a password in")
    return folder / f"prepared-{key}.json"


def _forget(key: str) -> None:
    with contextlib.suppress(OSError):
        _file(key).unlink()


@contextlib.contextmanager
def _alone(wait: bool) -> Iterator[bool]:
    """Hold the lock under which images are made; False, without waiting, when somebody else has it."""
    with open(_file("").with_name("prepare.lock"), "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
