"""Servers in throwaway containers, by the Docker engine that testcontainers would use.

Containers are created, given their files and started here, not by testcontainers' ``DockerContainer``: that one
starts Ryuk, labels containers for it, publishes ports on every address and waits a second between two looks.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict

from containertest.backends import docker_prepared
from containertest.backends.base import Handle, Owner, Server
from containertest.backends.docker_create import started
from containertest.backends.docker_engine import Engine
from containertest.backends.docker_labels import LABEL, labels
from containertest.backends.docker_prepared import Recipe, recipe_of
from containertest.backends.docker_removal import remove_all, remove_container, remove_orphans
from containertest.errors import BackendUnavailable, ContainerTestError
from containertest.spec import Endpoint, ServerSpec

__all__ = ["DockerBackend", "DockerServer"]

log = logging.getLogger("containertest")


class DockerServer:
    """A container. Made without talking to the engine, so that attaching costs nothing."""

    backend = "docker"

    def __init__(self, engine: Engine, handle: Handle, endpoint: Endpoint) -> None:
        self._engine = engine
        self.handle = handle
        self.endpoint = endpoint

    def alive(self) -> bool:
        """Whether the container runs; no, when the engine does not answer."""
        with suppress(ContainerTestError), self._engine.asking("look at a container") as api:
            return bool(api.inspect_container(self.handle["id"])["State"]["Running"])
        return False

    def logs(self, tail: int | None = None) -> str:
        """The container's output, or its last ``tail`` lines; why it can't be read, if so."""
        try:
            with self._engine.asking("read a container's log") as api:
                log = api.logs(self.handle["id"], tail="all" if tail is None else tail)
        except ContainerTestError as error:
            return str(error).splitlines()[0]
        return str(log.decode("utf-8", "replace"))

    def stop(self) -> None:
        """Kill and remove the container with its volumes; nothing happens the second time."""
        if self.handle.get("prepared") and not self.alive():
            Recipe(**self.handle["recipe"]).forget()  # it may have ended because of its data
        remove_container(self._engine, self.handle["id"])


class DockerBackend:
    """Runs servers as containers; fits `containertest.backends.base.Backend`. Safe to use from several threads."""

    name = "docker"

    def __init__(self) -> None:
        self._engine = Engine()

    def check(self, spec: ServerSpec) -> str:
        """The engine's version and the image, which is pulled if the engine does not have it."""
        version = self._engine.version()
        return f"Docker {version}, image {self._engine.image(spec.container.image, spec.image_source).name}"

    def start(self, spec: ServerSpec, owner: Owner) -> Server:
        engine = self._engine
        image = engine.image(spec.container.image, spec.image_source)
        recipe = recipe_of(spec.container, image, engine.host)
        kept = recipe.kept(engine) if recipe else None
        handle: Handle = {
            "id": f"{LABEL}-{owner.session}-{spec.service}-{secrets.token_hex(4)}",
            "engine": engine.host,
            "labels": labels(owner.session, spec.service, str(owner.folder)),
            "recipe": recipe and asdict(recipe),
            "prepared": bool(kept),
        }
        owner.record(handle)
        owner.waiting()
        try:
            host, port, near = started(engine, spec, image, kept, handle, owner.turn)
        except BaseException as error:
            # The first error counts; what can't be removed now, the guard removes.
            with suppress(Exception):
                remove_container(engine, handle["id"])
            if recipe and kept and isinstance(error, Exception):
                recipe.forget()
                return self.start(spec, owner)
            raise
        with suppress(BackendUnavailable):
            remove_orphans(engine)
        password = kept.password if kept else spec.password
        return DockerServer(engine, handle, Endpoint(host, port, spec.username, password, spec.database, near=near))

    def attach(self, handle: Handle, endpoint: Endpoint) -> Server:
        return DockerServer(Engine(handle.get("engine")), handle, endpoint)

    def remove(self, session: str, handles: Mapping[str, Handle]) -> None:
        """Remove every container of ``session``, by label and by name, then prepare images for the next run.

        :raises BackendUnavailable: when an engine can't be asked, or does not get rid of a container: try again later.
        """
        for host in {handle.get("engine") for handle in handles.values()} or {None}:
            names = [handle["id"] for handle in handles.values() if handle.get("engine") == host]
            remove_all(Engine(host), session, names)
        for handle in handles.values():
            if handle.get("recipe") and handle.get("ready"):
                _prepare(handle)


def prune() -> list[str]:
    """Remove what this user's runs have left on this machine: containers of a run that has lost its folder, as by a
    reboot, and prepared images.

    :return: a line for each.
    """
    try:
        engine = Engine()
        containers = [f"removed: container {name}" for name in remove_orphans(engine)]
        return containers + [f"removed: image {name}" for name in docker_prepared.prune(engine)]
    except BackendUnavailable:
        return []


def _prepare(handle: Handle) -> None:
    """Prepare the image that the server of ``handle`` would have liked to start from; not being able to is no error."""
    engine, name = Engine(handle["engine"]), f"{handle['id']}-prepare"
    try:
        docker_prepared.prepare(engine, Recipe(**handle["recipe"]), name, handle["labels"])
    except (ContainerTestError, OSError) as error:
        log.warning("No image was prepared for the next run: %s", error)
    finally:
        with suppress(ContainerTestError):
            remove_container(engine, name)
