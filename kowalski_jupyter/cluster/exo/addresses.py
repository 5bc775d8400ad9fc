"""Where the nodes of a cluster may be reached, by what one of them says about all."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any, Final

import httpx

from kowalski_jupyter.models.urls import is_loopback

DEFAULT_PORT: Final = 52415
"""Of exo's API, unless its user said another."""

_MOST: Final = 16
"""Of one node. A stranger's word must not send us to every address there is."""


def addresses(topology: object, network: object, source: str) -> dict[str, list[str]]:
    """Return base URLs by node, likeliest first.

    The edges of the topology come first: exo has asked at those addresses itself. Then the nodes' own interfaces.
    Loopback addresses count only in edges that a node on this machine tells of, where several share it: another
    machine's word for them would lead to whatever runs here.

    Args:
        topology: ``/state/topology``.
        network: ``/state/nodeNetwork``.
        source: base URL of the node that said so. The others' port is its own, where no edge says one.
    """
    port, near = httpx.URL(source).port or DEFAULT_PORT, is_loopback(source)
    found: dict[str, list[str]] = {}
    for node, text, said in dict.fromkeys(_edges(topology)):  # each node is told of by all others
        address = _ipv4(text)
        if address is not None and (near or not address.is_loopback):
            _add(found, node, address, said or port)
    for node, address, kind in _interfaces(network):
        if not (address.is_loopback or (address.is_link_local and kind != "thunderbolt")):
            _add(found, node, address, port)
    return found


def _add(found: dict[str, list[str]], node: str, address: ipaddress.IPv4Address, port: int) -> None:
    url = f"http://{address}:{port}"
    urls = found.setdefault(node, [])
    if url not in urls and len(urls) < _MOST:
        urls.append(url)


def _edges(topology: object) -> Iterator[tuple[str, str, int]]:
    """Give node, address and port, or 0, of each edge that leads to an address."""
    connections = topology.get("connections") if isinstance(topology, dict) else None
    if isinstance(connections, list):  # up to 1.0.63
        for edge in connections:
            if isinstance(edge, dict):
                yield from _edge(edge.get("sendBackNodeId"), edge.get("sendBackMultiaddr"))
        return
    for sinks in (connections if isinstance(connections, dict) else {}).values():
        for node, edges in (sinks if isinstance(sinks, dict) else {}).items():
            for edge in edges if isinstance(edges, list) else ():
                if isinstance(edge, dict):
                    yield from _edge(node, edge.get("sinkMultiaddr"))


def _edge(node: object, sink: Any) -> Iterator[tuple[str, str, int]]:
    if not isinstance(node, str) or not isinstance(sink, dict):
        return
    said = sink.get("ip_address") or sink.get("ipAddress") or _of_multiaddr(sink.get("address"))
    port = sink.get("port")
    if isinstance(said, str):
        yield node, said, port if isinstance(port, int) and 0 < port < 1 << 16 else 0


def _interfaces(network: object) -> Iterator[tuple[str, ipaddress.IPv4Address, str]]:
    for node, record in (network if isinstance(network, dict) else {}).items():
        interfaces = record.get("interfaces") if isinstance(record, dict) else None
        for interface in interfaces if isinstance(interfaces, list) else ():
            if isinstance(interface, dict):
                address = _ipv4(interface.get("ipAddress"))
                if address is not None:
                    yield node, address, str(interface.get("interfaceType"))


def _of_multiaddr(value: object) -> str:
    """Return the address in ``/ip4/10.77.0.2/tcp/52415``."""
    words = value.split("/") if isinstance(value, str) else []
    return words[2] if len(words) > 2 and words[1] == "ip4" else ""  # noqa: PLR2004


def _ipv4(value: object) -> ipaddress.IPv4Address | None:
    """Read an address; exo's API has no others than IPv4 ones."""
    try:
        address = ipaddress.IPv4Address(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return None if address is None or address.is_unspecified or address.is_multicast else address
