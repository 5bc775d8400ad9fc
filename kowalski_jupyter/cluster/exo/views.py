"""What a cluster says about itself, typed: devices, instances, tasks. Unknown keys, tags and nulls are left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kowalski_jupyter.models.instances import Instance, Runner, Sharding

__all__ = ["ClusterState", "Device", "Instance", "Runner", "Sharding", "Task"]


@dataclass(frozen=True, slots=True)
class Device:
    """One node of exo. What a device does not report is None, or empty.

    Attributes:
        id: exo's name for it; a new one at each start of exo.
        name: what its user calls it.
        model: of the machine: ``Mac Studio``.
        chip: ``Apple M3 Ultra``.
        system: operating system and its version.
        memory_total: in bytes, like all amounts here.
        memory_available: what a new model may take.
        disk_total: of the disk that holds models.
        disk_available: of the same.
        gpu: use of the GPU, 0 to 1.
        cpu: use of the faster cores, 0 to 1.
        temperature: of the GPU, in degrees Celsius.
        power: of the whole device, in watts.
        last_seen: when the master heard of it last, in seconds since the epoch by the master's clock.
        addresses: base URLs where its API may be, likeliest first; not yet confirmed.
    """

    id: str
    name: str = ""
    model: str = ""
    chip: str = ""
    system: str = ""
    memory_total: int | None = None
    memory_available: int | None = None
    disk_total: int | None = None
    disk_available: int | None = None
    gpu: float | None = None
    cpu: float | None = None
    temperature: float | None = None
    power: float | None = None
    last_seen: float | None = None
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """A request for a reply that is running or queued."""

    id: str
    instance: str
    command: str
    """What exo calls the request in its reply's ``id``: so a request of ours is known."""
    running: bool


@dataclass(frozen=True, slots=True)
class ClusterState:
    """One look at a cluster, through one of its nodes.

    Attributes:
        devices: by id.
        instances: by id.
        tasks: those in flight; empty too if the cluster has no parts to ask for them.
        runners: ids of all runners that it has had: exo does not forget those of instances that are gone.
        index: of the last event that the node has applied.
        stamp: the newest of all `last_seen`, the nearest thing to the master's clock; None if it says none.
    """

    devices: Mapping[str, Device] = field(default_factory=dict)
    instances: Mapping[str, Instance] = field(default_factory=dict)
    tasks: tuple[Task, ...] = ()
    runners: frozenset[str] = frozenset()
    index: int | None = None
    stamp: float | None = None

    def begins_anew(self, before: ClusterState) -> bool:
        """Tell whether a new master has begun anew since `before`: events are counted from zero, nothing is remembered.

        In a young cluster the count may have passed the old one by the time of the next look.
        """
        fallen = before.index is not None and self.index is not None and self.index < before.index
        return fallen or (bool(before.instances or before.runners) and not (self.instances or self.runners))

    def in_flight(self, instance: str) -> int:
        """Return how many requests that instance has, running and queued."""
        return sum(task.instance == instance for task in self.tasks)
