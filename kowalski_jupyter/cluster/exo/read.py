"""Reads the parts of exo's ``/state`` into views. Whatever is missing, null, unknown or of a wrong type is left out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from kowalski_jupyter.cluster.exo.addresses import addresses
from kowalski_jupyter.cluster.exo.views import ClusterState, Device, Task
from kowalski_jupyter.models.instances import read_instances, size, tag

_UNKNOWN: Final = {"", "unknown", "unknown model", "unknown chip"}
_IN_FLIGHT: Final = {"Pending", "Running"}
_NAME_LENGTH: Final = 80
_MOST_DEVICES: Final = 1000
_MOST: Final = 1e9
"""Of any figure that is one: JSON may hold more than a float does."""


def known_addresses(parts: Mapping[str, Any], source: str) -> dict[str, list[str]]:
    """Return where each node may be reached (`addresses`), by what the node at the base URL `source` has told."""
    return addresses(parts.get("topology"), parts.get("nodeNetwork") or _old_network(parts.get("nodeProfiles")), source)


def read_state(parts: Mapping[str, Any], reached: Mapping[str, Sequence[str]]) -> ClusterState:
    """Read what there is of a state.

    Args:
        parts: by their names in ``/state``.
        reached: `known_addresses`.
    """
    seen = {node: when for node, value in _items(parts.get("lastSeen")) if (when := read_time(value)) is not None}
    return ClusterState(
        devices={device.id: device for device in _devices(parts, seen, reached)},
        instances={each.id: each for each in read_instances(parts.get("instances"), parts.get("runners"))},
        tasks=tuple(_tasks(parts.get("tasks"))),
        runners=frozenset(key for key, _ in _items(parts.get("runners"))),
        index=_index(parts.get("lastEventAppliedIdx")),
        stamp=max(seen.values(), default=None),
    )


def read_time(value: object) -> float | None:
    """Read a date of exo's, which ends with ``Z`` or an offset, as seconds since the epoch."""
    if not isinstance(value, str):
        return None
    with contextlib.suppress(ValueError, OverflowError):
        when = datetime.fromisoformat(value)
        return when.replace(tzinfo=when.tzinfo or UTC).timestamp()
    return None


def present_nodes(topology: object) -> list[str]:
    """Return the ids of the nodes that are in the topology."""
    nodes = topology.get("nodes") if isinstance(topology, dict) else None
    if not isinstance(nodes, list):
        return []
    # Up to 1.0.63 a node is an object that has its id and its whole profile in it.
    found = [node.get("nodeId") if isinstance(node, dict) else node for node in nodes]
    return [node for node in found if isinstance(node, str)]


def _devices(
    parts: Mapping[str, Any], seen: Mapping[str, float], reached: Mapping[str, Sequence[str]]
) -> Iterator[Device]:
    profiles = dict(_items(parts.get("nodeProfiles")))
    # Identities are kept of nodes long gone, so that they prove nothing.
    nodes = list(seen) or present_nodes(parts.get("topology")) or list(profiles)
    for node in nodes[:_MOST_DEVICES]:
        old = _body(profiles, node)
        identity = _body(parts.get("nodeIdentities"), node) or old
        memory = _body(parts.get("nodeMemory"), node) or _body(old, "memory")
        disk = _body(parts.get("nodeDisk"), node)
        system = _body(parts.get("nodeSystem"), node) or _body(old, "system")
        yield Device(
            id=node,
            name=_text(identity.get("friendlyName")),
            model=_text(identity.get("modelId")),
            chip=_text(identity.get("chipId")),
            system=_text(identity.get("osVersion")),
            memory_total=size(memory.get("ramTotal")) or None,
            memory_available=_size(memory.get("ramAvailable")),
            disk_total=size(disk.get("total")) or None,
            disk_available=_size(disk.get("available")),
            gpu=_fraction(system.get("gpuUsage")),
            cpu=_fraction(system.get("pcpuUsage")),
            temperature=_number(system.get("temp")),
            power=_number(system.get("sysPower")),
            last_seen=seen.get(node),
            addresses=tuple(reached.get(node, ())),
        )


def _old_network(profiles: object) -> dict[str, Any]:
    """Return what profiles, up to 1.0.63, say of networks, in the shape of ``nodeNetwork``."""
    return {node: {"interfaces": _body(profiles, node).get("networkInterfaces")} for node, _ in _items(profiles)}


def _tasks(tasks: object) -> Iterator[Task]:
    for key, tagged in _items(tasks):
        kind, body = tag(tagged)
        status = body.get("taskStatus")
        if kind == "TextGeneration" and status in _IN_FLIGHT:
            yield Task(key, _text(body.get("instanceId")), _text(body.get("commandId")), status == "Running")


def _items(mapping: object) -> Iterator[tuple[str, Any]]:
    if isinstance(mapping, dict):
        yield from mapping.items()


def _body(mapping: object, key: str) -> dict[str, Any]:
    value = mapping.get(key) if isinstance(mapping, dict) else None
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    """Return a name on one line; empty if exo says that it does not know."""
    if not isinstance(value, str) or value.strip().lower() in _UNKNOWN:
        return ""
    return " ".join(value.split())[:_NAME_LENGTH]


def _index(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _size(value: object) -> int | None:
    return size(value) if isinstance(value, dict) else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > _MOST:
        return None
    return float(value)


def _fraction(value: object) -> float | None:
    number = _number(value)
    return None if number is None else min(1.0, max(0.0, number))
