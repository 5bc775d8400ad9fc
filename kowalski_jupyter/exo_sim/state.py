"""`GET /state` and its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kowalski_jupyter.exo_sim import shapes
from kowalski_jupyter.exo_sim.cluster import Cluster, Member


class State:
    """Makes the state's JSON. `port` is that of every node's API."""

    def __init__(self, cluster: Cluster, port: int) -> None:
        self._cluster = cluster
        self._port = port
        self._edges: tuple[object, dict[str, Any]] = (None, {})
        nothing: Callable[[], Any] = dict
        self._parts: dict[str, Callable[[], Any]] = {
            "instances": lambda: {key: each.body for key, each in cluster.instances.items()},
            "runners": self._runners,
            "downloads": lambda: {m.id: cluster.downloads.of(m) for m in cluster.members.values()},
            "tasks": self._tasks,
            "lastSeen": lambda: self._last_seen("+00:00"),
            "topology": self._topology,
            "lastEventAppliedIdx": cluster.last_event,
            "nodeIdentities": lambda: {m.id: shapes.identity(m.device) for m in cluster.ghosts.values()},
            "nodeMemory": lambda: self._each(lambda m: shapes.memory(m.device, cluster.available(m))),
            "nodeDisk": lambda: self._each(_disk),
            "nodeSystem": lambda: self._macs(lambda m: shapes.system(m.device, self._busy(m))),
            "nodeNetwork": lambda: self._each(lambda m: shapes.interfaces(m.device, m.address)),
            "nodeThunderbolt": lambda: self._macs(lambda _: {"interfaces": []}),
            "nodeThunderboltBridge": lambda: self._macs(_bridge),
            "nodeRdmaCtl": lambda: self._macs(lambda _: {"enabled": False}),
            "nodeBackends": lambda: {m.id: _backends(m) for m in cluster.ghosts.values()},
            "thunderboltBridgeCycles": list,
            "instanceLinks": nothing,
            "prefillServerPorts": nothing,
            "customModelCards": nothing,
        }

    def whole(self) -> dict[str, Any]:
        """Return all of it."""
        parts = {name: make() for name, make in self._parts.items()}
        return parts | {"lastSeen": self._last_seen("Z")}

    def part(self, path: list[str]) -> Any:
        """Return what is at a path.

        Raises:
            LookupError: nothing is there.
        """
        found = self._parts[path[0]]()
        for key in path[1:]:
            if isinstance(found, list):
                found = found[_index(key)]
            elif isinstance(found, dict):
                found = found[key]
            else:
                raise KeyError(key)
        return found

    def _each(self, make: Callable[[Member], Any]) -> dict[str, Any]:
        return {m.id: make(m) for m in self._cluster.members.values()}

    def _macs(self, make: Callable[[Member], Any]) -> dict[str, Any]:
        return {m.id: make(m) for m in self._cluster.members.values() if m.device.mac}

    def _busy(self, member: Member) -> float:
        """Return how much of a node's slots works, from 0 to 1."""
        own = [each for each in self._cluster.instances.values() if member in each.members]
        slots = self._cluster.plan.slots * len(own)
        return sum(len(each.active) for each in own) / slots if slots else 0.0

    def _runners(self) -> dict[str, Any]:
        found = dict(self._cluster.orphans)
        for each in self._cluster.instances.values():
            found |= each.runner_states()
        return found

    def _tasks(self) -> dict[str, Any]:
        found = dict(self._cluster.tasks)
        for each in self._cluster.instances.values():
            found |= each.tasks
        return found | {job.task_id: job.task() for job in self._cluster.jobs.values()}

    def _last_seen(self, zone: str) -> dict[str, str]:
        clock = self._cluster.clock
        now = clock.now()
        seen = {}
        for place, member in enumerate(self._cluster.members.values()):
            until = now if member.silent_since is None else min(now, member.silent_since)
            phase = place * 0.37 % 1  # every second, though not all at once
            last = until - (until + phase) % 1.0
            seen[member.id] = clock.date(last).strftime("%Y-%m-%dT%H:%M:%S.%f") + zone
        return seen

    def _topology(self) -> dict[str, Any]:
        """Return who is connected: what each node found of the others since it or they joined."""
        cutoff = self._cluster.clock.now() - self._cluster.plan.timings.edges
        members = list(self._cluster.members.values())
        meshed = [m for m in members if m.joined <= cutoff and (m.silent_since is None or m.silent_since > cutoff)]
        key = (tuple(m.id for m in members), tuple(m.id for m in meshed))
        if self._edges[0] != key:
            connections = {
                m.id: {other.id: [shapes.socket_edge(other.address, self._port)] for other in meshed if other is not m}
                for m in meshed
            }
            whole = {"nodes": [m.id for m in members], "connections": connections if len(meshed) > 1 else {}}
            self._edges = (key, whole)
        return self._edges[1]


def _index(key: str) -> int:
    if not key.isdigit():
        raise KeyError(key)
    return int(key)


def _disk(_: Member) -> dict[str, Any]:
    return {"total": {"inBytes": 994662584320}, "available": {"inBytes": 412316860416}}


def _bridge(_: Member) -> dict[str, Any]:
    return {"enabled": False, "exists": True, "serviceName": "Thunderbolt Bridge"}


def _backends(member: Member) -> list[str]:
    return ["MlxCpu", "MlxMetal"] if member.device.mac else ["MlxCpu"]
