"""What a look at a cluster means for one model there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kowalski_jupyter.cluster.health import exo_on
from kowalski_jupyter.cluster.routing.end import Condition
from kowalski_jupyter.cluster.snapshot import DeviceHealth, Snapshot
from kowalski_jupyter.models.exo import EXO_WIDTH


@dataclass(frozen=True, slots=True)
class Outlook:
    """See above.

    Attributes:
        snapshot: the look.
        condition: of the model, as far as the look tells.
        places: the APIs where it can be asked, best first.
        where: the devices that have it, in words.
    """

    snapshot: Snapshot
    condition: Condition
    places: Sequence[tuple[str, DeviceHealth | None]]
    where: str


def look_at(snapshot: Snapshot, key: str, model: str) -> Outlook:
    """Return what a look means for a model in the cluster of that key."""
    there = [each for each in snapshot.of_model(model, ready=False) if each.cluster == key]
    ready = [each for each in there if each.ready]
    health = snapshot.clusters.get(key)
    if health is None or health.url is None:
        return Outlook(snapshot, Condition(0, why="no device of the exo cluster answers"), (), "exo")
    if not ready:
        problem = there[0].problem if there else "it is not loaded"
        return Outlook(snapshot, Condition(0, why=f"{model} on exo: {problem}"), (), "exo")
    members = [each for each in snapshot.members(key) if each.url and each.condition in {"ok", "stale"}]
    members.sort(key=lambda each: (each.condition != "ok", each.round_trip or 1.0))
    places: list[tuple[str, DeviceHealth | None]] = [(each.url, each) for each in members if each.url]
    devices = snapshot.devices
    nodes = [devices[node] for node in dict.fromkeys(node for each in ready for node in each.instance.nodes)]
    condition = Condition(
        EXO_WIDTH * len(ready),
        sum(each.others for each in ready),
        round_trip=members[0].round_trip if members else None,
        staleness=max(0.0, min((each.staleness or 0.0 for each in nodes), default=0.0) - 1.0),
        small_only=all(any(devices[node].small_work_only for node in each.instance.nodes) for each in ready),
    )
    where = exo_on([each.device for each in nodes])
    return Outlook(snapshot, condition, places or [(health.url, None)], where)
