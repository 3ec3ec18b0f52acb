"""Creates and starts a container for a server, and finds out where it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from containertest.backends.base import Handle
from containertest.backends.docker_archive import archive
from containertest.backends.docker_engine import Engine, Image
from containertest.backends.docker_prepared import Kept
from containertest.backends.docker_route import LOCAL, Route, shorter_way
from containertest.errors import ConfigError, died_at_start
from containertest.spec import ContainerSpec, ServerSpec
from containertest.wait import poll

__all__ = ["Address", "started"]

#: Bytes below which Docker refuses a memory limit.
LEAST_MEMORY = 6 << 20
#: PostgreSQL's parallel queries share memory by /dev/shm, of which Docker gives 64 MB.
SHARED_MEMORY = 256 << 20
#: Seconds that the engine may take to publish the port of a container that it has started.
PORT_TIMEOUT = 10.0


class Address(NamedTuple):
    """Where a container answers; ``near`` as in `containertest.spec.Endpoint`."""

    host: str
    port: int
    near: str | None = None


def started(
    engine: Engine, spec: ServerSpec, image: Image, kept: Kept | None, handle: Handle, turn: Callable[[], object]
) -> Address:
    """Create and start the container of ``handle``, that when it is its ``turn``; return where it answers."""
    name = handle["id"]
    with engine.asking(f"start {spec.title} from the image {image.name!r}", _remedy(spec)) as api:
        _create(api, spec, image, kept, handle, engine.route)
        if spec.container.files:
            api.put_archive(name, "/", archive(spec.container.files))
        turn()
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
    port = f"{container.port}/tcp"
    config = {
        "Image": kept.image if kept else image.name,
        "Cmd": list(container.command) or None,
        "Env": [f"{name}={value}" for name, value in container.environment.items()],
        "ExposedPorts": {port: {}},
        "Labels": handle["labels"],
        "HostConfig": {
            # An address without a port: the engine picks a free one.
            "PortBindings": {port: [{"HostIp": route.bind, "HostPort": ""}]} if route.bind else {},
            "NetworkMode": route.network or "default",
            "Memory": _bytes(spec),
            "ShmSize": SHARED_MEMORY,
            "Tmpfs": dict.fromkeys(container.tmpfs, ""),
        },
    }
    if stand_in and image.starts_by(stand_in.replaces):
        config["Entrypoint"] = list(stand_in.command)
    api.create_container_from_config(config, handle["id"])


def _bytes(spec: ServerSpec) -> int:
    """The memory limit; 0: none."""
    if spec.memory is None:
        return 0
    from docker.errors import DockerException
    from docker.utils import parse_bytes

    try:
        amount = int(parse_bytes(spec.memory))
    except (DockerException, ValueError) as error:
        raise ConfigError(
            f"memory={spec.memory!r} of {spec.title} is not an amount that Docker knows.\n"
            "Write a number with b, k, m or g, as in memory='512m'."
        ) from error
    if 0 < amount < LEAST_MEMORY:
        raise ConfigError(
            f"memory={spec.memory!r} of {spec.title} is {amount} bytes, but Docker gives a container 6m at least.\n"
            "Write a number with k, m or g, as in memory='512m'."
        )
    return amount


def _address(api: Any, spec: ServerSpec, name: str, route: Route) -> Address:
    """Where the container answers.

    :raises ServerDied: if it has ended already, which is when it has no address any more.
    """
    found: list[Address] = []

    def look() -> bool:
        info = api.inspect_container(name)
        found.extend(_addresses(info["NetworkSettings"], spec.container, route))
        if not found and not info["State"]["Running"]:
            log = api.logs(name, tail=100).decode("utf-8", "replace")
            raise died_at_start(spec.title, log)
        return bool(found)

    if not poll(look, PORT_TIMEOUT):
        raise OSError(f"its port {spec.container.port} was not published within {PORT_TIMEOUT:g} s")
    return found[0]


def _addresses(network: Mapping[str, Any], container: ContainerSpec, route: Route) -> list[Address]:
    port = container.port
    if route.host is None:
        return [Address(net["IPAddress"], port) for net in network["Networks"].values() if net["IPAddress"]]
    published = (network.get("Ports") or {}).get(f"{port}/tcp") or []
    near = shorter_way(network, port) if container.direct and route == LOCAL else None
    return [Address(route.host, int(binding["HostPort"]), near) for binding in published if binding["HostPort"]]
