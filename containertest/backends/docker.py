"""Servers in throwaway containers, by the Docker engine that testcontainers would use.

Containers are created, given their files and started here, not by testcontainers' ``DockerContainer``: that one
starts Ryuk, labels containers for it, publishes ports on every address and waits a second between two looks.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from containertest.backends import docker_prepared
from containertest.backends.base import Handle, Owner, Server
from containertest.backends.docker_engine import Engine, Image, Route, archive
from containertest.backends.docker_labels import LABEL, labels, mine
from containertest.backends.docker_orphans import is_orphan
from containertest.backends.docker_prepared import Kept, Recipe, recipe_of
from containertest.errors import BackendUnavailable, ConfigError, ContainerTestError, died_at_start
from containertest.spec import Endpoint, ServerSpec
from containertest.wait import poll

__all__ = ["DockerBackend", "DockerServer"]

log = logging.getLogger("containertest")

#: PostgreSQL's parallel queries share memory by /dev/shm, of which Docker gives 64 MB.
SHARED_MEMORY = "256m"
#: Seconds that the engine may take to publish the port of a container that it has started.
PORT_TIMEOUT = 10.0
#: Seconds between the two looks that must find nothing before a run counts as removed.
SECOND_LOOK = 0.3
#: Seconds that the engine may take to remove a run's containers.
REMOVE_TIMEOUT = 30.0


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
        _remove(self._engine, self.handle["id"])


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
        try:
            host, port = _started(engine, spec, image, kept, handle)
        except BaseException as error:
            # The first error counts; what can't be removed now, the guard removes.
            with suppress(Exception):
                _remove(engine, handle["id"])
            if recipe and kept and isinstance(error, Exception):
                recipe.forget()
                return self.start(spec, owner)
            raise
        with suppress(BackendUnavailable):
            _remove_orphans(engine)
        password = kept.password if kept else spec.password
        return DockerServer(engine, handle, Endpoint(host, port, spec.username, password, spec.database))

    def attach(self, handle: Handle, endpoint: Endpoint) -> Server:
        return DockerServer(Engine(handle.get("engine")), handle, endpoint)

    def remove(self, session: str, handles: Mapping[str, Handle]) -> None:
        """Remove every container of ``session``, by label and by name, then prepare images for the next run.

        :raises BackendUnavailable: when an engine can't be asked, or does not get rid of a container: try again later.
        """
        for host in {handle.get("engine") for handle in handles.values()} or {None}:
            names = [handle["id"] for handle in handles.values() if handle.get("engine") == host]
            _remove_all(Engine(host), session, names)
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
        containers = [f"removed: container {name}" for name in _remove_orphans(engine)]
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
            _remove(engine, name)


def _started(engine: Engine, spec: ServerSpec, image: Image, kept: Kept | None, handle: Handle) -> tuple[str, int]:
    """Create and start the container of ``handle``; return where it answers."""
    name = handle["id"]
    with engine.asking(f"start {spec.title} from the image {image.name!r}", _remedy(spec)) as api:
        _create(api, spec, image, kept, handle, engine.route)
        if spec.container.files:
            api.put_archive(name, "/", archive(spec.container.files))
        api.start(name)
        return _address(api, spec, name, engine.route)


def _remedy(spec: ServerSpec) -> str:
    return (
        f"Is that an image of {spec.title}, such as {spec.service}'s official one, with its own entry point? "
        "The Docker engine's log may say more."
    )


def _create(api: Any, spec: ServerSpec, image: Image, kept: Kept | None, handle: Handle, route: Route) -> None:
    container = spec.container
    stand_in = container.entrypoint
    _check_memory(spec)
    host_config = api.create_host_config(
        # An address without a port: the engine picks a free one.
        port_bindings={container.port: (route.bind,)} if route.bind else None,
        network_mode=route.network,
        mem_limit=spec.memory,
        shm_size=SHARED_MEMORY,
        tmpfs=dict.fromkeys(container.tmpfs, ""),
    )
    api.create_container(
        kept.image if kept else image.name,
        name=handle["id"],
        entrypoint=list(stand_in.command) if stand_in and image.starts_by(stand_in.replaces) else None,
        command=list(container.command) or None,
        environment=dict(container.environment),
        ports=[container.port],
        labels=handle["labels"],
        host_config=host_config,
    )


def _check_memory(spec: ServerSpec) -> None:
    from docker.errors import DockerException
    from docker.utils import parse_bytes

    try:
        parse_bytes(spec.memory or "")
    except DockerException as error:
        raise ConfigError(
            f"memory={spec.memory!r} of {spec.title} is not an amount that Docker knows.\n"
            "Write a number with b, k, m or g, as in memory='512m'."
        ) from error


def _address(api: Any, spec: ServerSpec, name: str, route: Route) -> tuple[str, int]:
    """Where the container answers.

    :raises ServerDied: if it has ended already, which is when it has no address any more.
    """
    port, found = spec.container.port, []

    def look() -> bool:
        info = api.inspect_container(name)
        found.extend(_addresses(info["NetworkSettings"], port, route))
        if not found and not info["State"]["Running"]:
            log = api.logs(name, tail=100).decode("utf-8", "replace")
            raise died_at_start(spec.title, log)
        return bool(found)

    if not poll(look, PORT_TIMEOUT):
        raise OSError(f"its port {port} was not published within {PORT_TIMEOUT:g} s")
    return found[0]


def _addresses(network: Mapping[str, Any], port: int, route: Route) -> list[tuple[str, int]]:
    if route.host is None:
        return [(net["IPAddress"], port) for net in network["Networks"].values() if net["IPAddress"]]
    published = (network.get("Ports") or {}).get(f"{port}/tcp") or []
    return [(route.host, int(binding["HostPort"])) for binding in published if binding["HostPort"]]


def _remove(engine: Engine, name: str) -> None:
    """Remove a container and its anonymous volumes, unless it is gone or going already."""
    with engine.asking(f"remove the container {name}") as api:
        from docker.errors import APIError

        try:
            api.remove_container(name, force=True, v=True)
        except APIError as error:
            if error.status_code not in (404, 409):
                raise


def _remove_all(engine: Engine, session: str, names: Iterable[str]) -> None:
    """Look until two looks find nothing: the engine may still be creating a container for a killed process."""
    filters: list[dict[str, Any]] = [
        {"label": [f"{LABEL}.session={session}"]},
        *({"name": f"^/{name}$"} for name in names),
    ]
    deadline = time.monotonic() + REMOVE_TIMEOUT
    quiet = 0
    with ThreadPoolExecutor(8) as threads:
        while quiet < 2:
            found = _find(engine, filters)
            if time.monotonic() > deadline:
                raise BackendUnavailable(f"Docker does not get rid of {', '.join(sorted(found))}.\nTry again later.")
            list(threads.map(lambda identity: _remove(engine, identity), found))
            quiet = 0 if found else quiet + 1
            time.sleep(SECOND_LOOK if quiet == 1 else 0.02)


def _find(engine: Engine, filters: Iterable[Mapping[str, Any]]) -> set[str]:
    with engine.asking("list containers") as api:
        return {found["Id"] for wanted in filters for found in api.containers(all=True, filters=wanted)}


def _remove_orphans(engine: Engine) -> list[str]:
    """Remove the containers that no guard can know of, since their run's folder is gone; return their names."""
    with engine.asking("list containers") as api:
        found = {info["Id"]: info for info in api.containers(all=True, filters=mine())}
    orphans = {key: info for key, info in found.items() if is_orphan(info["Labels"])}
    for identity in orphans:
        _remove(engine, identity)
    return sorted(info["Names"][0].lstrip("/") for info in orphans.values())
