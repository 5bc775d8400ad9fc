"""Whether a request to exo still lives, by what its cluster says: its stream alone does not tell."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from kowalski_jupyter.cluster.exo.views import Device, Task
from kowalski_jupyter.cluster.health import device_name
from kowalski_jupyter.cluster.routing.attempt import Attempt
from kowalski_jupyter.cluster.snapshot import DeviceHealth, Snapshot
from kowalski_jupyter.models.base import ModelStalledError

GRACE: Final = 1.0
"""Seconds without progress before it matters that something is wrong around a request."""

GONE: Final = 3.0
"""Seconds without progress after which a request is lost that its cluster does not list any more."""

UNSEEN: Final = 8.0
"""The same for one that was never listed: an election may hold it for some seconds."""


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
        device: id of the device whose API took it; None if not known.
        session: of the cluster, when it was sent.
        seed: that it was sent with.
        listed: whether the cluster has listed it.
        instance: id of the instance that has it, once that is known.
    """

    cluster: str
    model: str
    device: str | None
    session: int
    seed: int
    listed: bool = False
    instance: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """That a request is lost: why, and whether its connection may be left open.

    exo's master goes on to choose a replica whose device has died, until it notices, and prefers the one with the
    fewest requests: those left there keep the next ones away.
    """

    reason: str
    leave: bool = False


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
    trail: Trail,
    attempt: Attempt,
    snapshot: Snapshot,
    commands: Mapping[str, Task],
    seeds: Mapping[int, Task | None],
    *,
    lists: bool,
) -> Verdict | None:
    """Return why a request is lost, or None if it may still be answered.

    Args:
        trail: where it went; what is learned is noted in it.
        attempt: its stream.
        snapshot: of all clusters.
        commands: see `tasks_of`.
        seeds: see `tasks_of`.
        lists: whether this cluster is known to list its tasks at all.
    """
    health = snapshot.clusters.get(trail.cluster)
    if health is None:
        return None
    if health.session != trail.session:
        return Verdict("exo has a new master, which knows nothing of it")
    task = commands.get(attempt.reply_id) if attempt.reply_id else seeds.get(trail.seed)
    if task is not None:
        trail.listed, trail.instance = True, task.instance
    idle = time.monotonic() - attempt.progress
    if idle < GRACE:
        return None
    device = snapshot.devices.get(trail.device) if trail.device else None
    if device is not None and device.condition in {"unreachable", "lost"}:
        return Verdict(f"{device_name(device.device)} stopped answering")
    # Only a list that is newer than the last progress proves that something is not in it.
    missing = health.tasks_at - attempt.progress if task is None else 0.0
    if trail.instance:
        return _by_instance(trail, snapshot, gone=missing > GONE)
    return _unlisted(trail, snapshot, late=lists and missing > (GONE if attempt.reply_id else UNSEEN))


def _unlisted(trail: Trail, snapshot: Snapshot, *, late: bool) -> Verdict | None:
    if not snapshot.of_model(trail.model, ready=False):
        return Verdict(f"{trail.model} was unloaded")
    return Verdict("exo took the request and does not know it any more") if late else None


def _by_instance(trail: Trail, snapshot: Snapshot, *, gone: bool) -> Verdict | None:
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
    if gone:
        return Verdict("exo lost the reply on its way")
    return None


def _name(device: DeviceHealth | None, node: str) -> str:
    return device_name(device.device if device is not None else Device(node))
