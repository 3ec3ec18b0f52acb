"""How a container's port is reached from this process, by testcontainers' settings."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["LOCAL", "Route", "find_route", "is_local", "shorter_way"]


@dataclass(frozen=True)
class Route:
    """How a container's port is reached from this process.

    :param host: where to connect to; None: the container's own address.
    :param bind: the engine's address that the port is published on; None: it is not published.
    :param network: the network the container has to join; None: the engine's default.
    """

    host: str | None
    bind: str | None
    network: str | None = None


#: An engine of this machine: only this machine can connect.
LOCAL = Route("127.0.0.1", "127.0.0.1")


def is_local(api: Any) -> bool:
    """Whether an engine behind a Unix socket publishes its ports here: it may be that of a container's host."""
    return not os.path.exists("/.dockerenv") or _is_this_machine(_bridge_gateway(api))


def find_route(client: Any) -> Route:
    """The route that testcontainers would take, by its client."""
    from testcontainers.core.config import ConnectionMode

    mode = client.get_connection_mode()
    if mode is ConnectionMode.bridge_ip:
        return Route(host=None, bind=None, network=client.find_host_network())
    host, bind = client.host(), "0.0.0.0"
    if mode is ConnectionMode.gateway_ip:
        host = bind = _bridge_gateway(client.client.api)
    return LOCAL if _is_this_machine(host) else Route(host, bind)


def shorter_way(network: Mapping[str, Any], port: int) -> str | None:
    """A container's own address, if its network is one of this machine: past the proxy that publishes its ports.

    Each message takes half of the time there. Not with an engine in a virtual machine or without root's rights.

    :param network: the container's, as the engine describes it.
    """
    for net in network["Networks"].values():
        if net.get("IPAddress") and net.get("Gateway") and _is_this_machine(net["Gateway"]):
            return f"{net['IPAddress']}:{port}"
    return None


def _bridge_gateway(api: Any) -> str:
    """The engine's machine as other containers see it: the default bridge's own address.

    An engine that was started on an existing bridge does not name it; it is the first of the subnet then.
    """
    for config in api.inspect_network("bridge")["IPAM"]["Config"]:
        if gateway := config.get("Gateway"):
            return str(gateway)
        return str(next(ipaddress.ip_network(config["Subnet"]).hosts()))
    raise OSError("its network 'bridge' has no address")


def _is_this_machine(host: str) -> bool:
    """Whether ``host`` is an address of this machine (or of this container's own network)."""
    try:
        with socket.socket() as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True
