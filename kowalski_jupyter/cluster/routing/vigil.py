"""Whether a request to exo still lives, by what its cluster says: its stream alone does not tell."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from kowalski_jupyter.cluster.exo.views import Device, Task
from kowalski_jupyter.cluster.health import device_name
from kowalski_jupyter.cluster.routing.attempt import Attempt
from kowalski_jupyter.cluster.snapshot import DeviceHealth, Snapshot
from kowalski_jupyter.models.base import ModelStalledError

GRACE: Final = 1.0
"""Seconds without progress before it matters that something is wrong around a request."""

GONE: Final = 1.5
"""Seconds without progress after which a request is lost that its cluster took and does not list."""

UNSEEN: Final = 8.0
"""The same for one of which not a byte has come: an election holds it for some seconds."""

BEHIND: Final = 2.0
"""Seconds without progress after which a request is lost while others of its instance get on: they take turns."""

_STEPS: Final = 5
"""How many tokens the others are ahead by then, if they are slow."""


class LostError(ModelStalledError):
    """A request that will never be answered, though its stream is open."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The reply was lost: {reason}. Run again.")
        self.reason = reason


@dataclass(slots=True)
class Trail:
    """Where a request went.

    Attributes:
        cluster: key of its cluster.
        model: that it asks.
        url: of the API that it was sent to.
        device: id of the device whose API that is; None if not known.
        session: of the cluster, when it was sent.
        seed: that it was sent with.
        listed: whether the cluster lists it now.
        instance: id of the instance that has it, once that is known.
    """

    cluster: str
    model: str
    url: str
    device: str | None
    session: int
    seed: int
    listed: bool = False
    instance: str = ""

    def find(self, attempt: Attempt, commands: Mapping[str, Task], seeds: Mapping[int, Task | None]) -> None:
        """Note where it is by the cluster's list of tasks (`tasks_of`)."""
        if attempt.reply_id:
            task = commands.get(attempt.reply_id)
            self.listed = task is not None
        else:
            task = seeds.get(self.seed)
            self.listed = self.seed in seeds
        if task is not None:
            self.instance = task.instance


@dataclass(frozen=True, slots=True)
class Verdict:
    """That a request is lost.

    Attributes:
        reason: why, in half a line.
        leave: whether its connection may be left open. exo's master goes on to choose a replica whose device has died,
            until it notices, and prefers the one with the fewest requests: those left there keep the next ones away.
        beside: whether nothing but the progress of others tells it.
    """

    reason: str
    leave: bool = False
    beside: bool = False


def tasks_of(snapshot: Snapshot, cluster: str) -> tuple[dict[str, Task], dict[int, Task | None]]:
    """Return the tasks of a cluster by their command, and by their seed (None for one that several have)."""
    health = snapshot.clusters.get(cluster)
    tasks = health.tasks if health is not None else ()
    seeds: dict[int, Task | None] = {}
    for task in tasks:
        if task.seed is not None:
            seeds[task.seed] = None if task.seed in seeds else task
    return {task.command: task for task in tasks}, seeds


def judge(
    trail: Trail, attempt: Attempt, snapshot: Snapshot, *, beside: Sequence[Attempt] = (), lists: bool
) -> Verdict | None:
    """Return why a request is lost, or None if it may still be answered.

    Args:
        trail: where it went, and whether it is listed there.
        attempt: its stream.
        snapshot: of all clusters.
        beside: streams of the same instance.
        lists: whether this cluster is known to list its tasks at all.
    """
    health = snapshot.clusters.get(trail.cluster)
    if health is None:
        return None
    if health.session != trail.session:
        return Verdict("exo has a new master, which knows nothing of it")
    idle = time.monotonic() - attempt.progress
    if idle < GRACE:
        return None
    device = snapshot.devices.get(trail.device) if trail.device else None
    if device is not None and device.condition in {"unreachable", "lost"}:
        return Verdict(f"{device_name(device.device)} stopped answering")
    # Only a list that is newer than the last progress proves that something is not in it.
    missing = 0.0 if trail.listed else health.tasks_at - attempt.progress
    if not trail.instance:
        return _unlisted(trail, snapshot, late=lists and missing > (GONE if attempt.taken else UNSEEN))
    return _by_instance(trail, snapshot) or _by_progress(attempt, beside, idle, gone=missing > GONE)


def _unlisted(trail: Trail, snapshot: Snapshot, *, late: bool) -> Verdict | None:
    if not snapshot.of_model(trail.model, ready=False):
        return Verdict(f"{trail.model} was unloaded")
    return Verdict("exo took the request and does not know it any more") if late else None


def _by_instance(trail: Trail, snapshot: Snapshot) -> Verdict | None:
    instance = snapshot.instances.get(trail.instance)
    if instance is None:
        return Verdict(f"{trail.model} was unloaded")
    for node in instance.instance.nodes:
        device = snapshot.devices.get(node)
        if device is None or device.condition in {"lost", "stale"}:
            others = any(each.instance.id != trail.instance for each in snapshot.of_model(trail.model))
            return Verdict(f"{_name(device, node)} stopped answering", leave=others)
    if instance.instance.failed:
        return Verdict(f"{trail.model} failed on its device")
    return None


def _by_progress(attempt: Attempt, beside: Sequence[Attempt], idle: float, *, gone: bool) -> Verdict | None:
    overtaken = not gone and idle > BEHIND and any(_ahead(each, attempt) for each in beside)
    return Verdict("exo lost the reply on its way", beside=overtaken) if gone or overtaken else None


def _ahead(other: Attempt, attempt: Attempt) -> bool:
    """Tell whether another stream of the same instance has got on so far that this one should have, too.

    An instance begins requests in their order, and then works on all that it has begun, a token of each at a time.
    """
    if other.first is None or other is attempt:
        return False
    patience = max(BEHIND, _STEPS * (other.progress - other.first) / max(1, other.tokens - 1))
    if attempt.first is None:
        return other.begun - attempt.begun > BEHIND and other.progress - other.first > patience
    return other.progress - attempt.progress > patience


def _name(device: DeviceHealth | None, node: str) -> str:
    return device_name(device.device if device is not None else Device(node))
