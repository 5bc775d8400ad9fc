"""The health of all devices and instances at one moment. Read-only: routing, magics and the panel read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from kowalski_jupyter.cluster.alerts import Alert
from kowalski_jupyter.cluster.exo.views import Device, Instance, Task
from kowalski_jupyter.models.exo import EXO_WIDTH

Condition = Literal["ok", "stale", "unreachable", "lost"]
"""How a device is: heard of just now; not for some seconds; alive, but its API does not answer here; gone."""

STALE_SECONDS: Final = 5.0
"""A device that its master has not heard of for longer gets nothing new: exo itself waits for 30 s."""


@dataclass(frozen=True, slots=True)
class DeviceHealth:
    """One device, as it is and as it is reached from here.

    Attributes:
        device: what the cluster says of it.
        cluster: key of its cluster in `Snapshot.clusters`.
        condition: see `Condition`.
        url: base URL of its API, confirmed by its id; None if it cannot be reached from here.
        staleness: seconds since its master heard of it, by the master's own clock; None if not said.
        round_trip: seconds for one small question to its API, smoothed; None if it cannot be reached.
        load: use of the busier of CPU and GPU, 0 to 1; None if not reported.
        low_memory: too little free memory for more than small work.
        battery: runs on a battery, or is a portable device of which that is not known.
        lost_since: when it went away, in seconds since the epoch; None if it is there.
    """

    device: Device
    cluster: str
    condition: Condition = "ok"
    url: str | None = None
    staleness: float | None = None
    round_trip: float | None = None
    load: float | None = None
    low_memory: bool = False
    battery: bool = False
    lost_since: float | None = None

    @property
    def small_work_only(self) -> bool:
        """Whether it gets small work only."""
        return self.low_memory or self.battery


@dataclass(frozen=True, slots=True)
class InstanceHealth:
    """One instance, with its true readiness.

    Attributes:
        instance: what the cluster says of it.
        cluster: key of its cluster in `Snapshot.clusters`.
        ready: all its runners serve, and all its devices are there and heard of just now.
        problem: why it is not ready, in words; else empty.
        ours: requests of this service that it has, running and queued.
        others: those of other clients.
        tokens_per_second: of one reply, as seen here lately; None before the first.
    """

    instance: Instance
    cluster: str
    ready: bool = False
    problem: str = ""
    ours: int = 0
    others: int = 0
    tokens_per_second: float | None = None

    @property
    def in_flight(self) -> int:
        """All requests that it has, running and queued."""
        return self.ours + self.others

    @property
    def queued(self) -> int:
        """How many of them wait: exo works on so many at a time, and starts the next when one ends."""
        return max(0, self.in_flight - EXO_WIDTH)


@dataclass(frozen=True, slots=True)
class ClusterHealth:
    """One exo cluster.

    Attributes:
        url: base URL of the node that is asked about it; None if none answers now.
        session: grows by one with each new master. What was placed or asked under an earlier one is gone.
        since: when that master was noticed, in seconds since the epoch.
        index: of the last event that it has applied.
        tasks: requests that are running or queued in it, anybody's.
        tasks_at: when those were asked for, by a clock that only grows.
        only_named: whether it is for runs alone that name its address: no search of the user's own has found it.
    """

    url: str | None
    session: int = 0
    since: float = 0.0
    index: int | None = None
    tasks: Sequence[Task] = ()
    tasks_at: float = 0.0
    only_named: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that is known at one moment.

    Attributes:
        time: seconds since the epoch, by this machine.
        clusters: by the id of the first node that was found of each.
        devices: by id, those lost within the last minutes too.
        instances: by id.
        alerts: newest first.
    """

    time: float = 0.0
    clusters: Mapping[str, ClusterHealth] = field(default_factory=dict)
    devices: Mapping[str, DeviceHealth] = field(default_factory=dict)
    instances: Mapping[str, InstanceHealth] = field(default_factory=dict)
    alerts: Sequence[Alert] = ()

    def of_model(self, model: str, *, ready: bool = True) -> list[InstanceHealth]:
        """Return the instances of a model: those that are ready, or all."""
        found = (each for each in self.instances.values() if each.instance.model == model)
        return [each for each in found if each.ready or not ready]

    def members(self, cluster: str) -> Iterator[DeviceHealth]:
        """Give the devices of one cluster that are not lost."""
        for each in self.devices.values():
            if each.cluster == cluster and each.condition != "lost":
                yield each

    def answering(self, cluster: str | None) -> dict[str, str]:
        """Return the base URL that is asked, by key, of one cluster if it answers, or of all that do and are open.

        A cluster is open unless it is `only_named`.
        """
        return {
            key: health.url
            for key, health in self.clusters.items()
            if health.url and (key == cluster if cluster else not health.only_named)
        }

    def urls(self, cluster: str) -> list[str]:
        """Return base URLs where a request to that cluster can be sent, best first; empty if no node answers."""
        health = self.clusters.get(cluster)
        if health is None or health.url is None:
            return []
        able = [each for each in self.members(cluster) if each.url and each.condition == "ok"]
        able.sort(key=lambda each: each.round_trip if each.round_trip is not None else 1.0)
        return list(dict.fromkeys([*(each.url for each in able if each.url), health.url]))
