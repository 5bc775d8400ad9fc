"""Where exo would put a model: the smallest set of nodes with the memory for it, and which has most of it."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kowalski_jupyter.exo_sim import shapes
from kowalski_jupyter.exo_sim.plan import Model


class PlacementError(Exception):
    """Why a model cannot be placed, in exo's words."""


@dataclass(frozen=True, slots=True)
class Place:
    """A node that may take a part of a model. `available` is in bytes; only those `connected` work together."""

    node_id: str
    address: str
    available: int
    mac: bool
    connected: bool = True


def choose(
    places: Sequence[Place], model: Model, sharding: str = "Pipeline", meta: str = "MlxRing", min_nodes: int = 1
) -> list[Place]:
    """Return the nodes for a model, the one with least memory first: the order of exo's ranks.

    Raises:
        PlacementError: nothing fits.
    """
    if meta == "MlxJaccl":
        if not all(place.mac for place in places):
            raise PlacementError(f"No cycle where every node supports a backend in ['MlxMetal'] for {model.id}")
        raise PlacementError("Requested RDMA (MlxJaccl) but no RDMA-connected cycles available")
    ranked = sorted(places, key=lambda place: place.available, reverse=True)
    for count in range(max(1, min_nodes), len(ranked) + 1):
        if sharding == "Tensor" and (not model.supports_tensor or model.kv_heads % count):
            continue
        chosen = ranked[:1] if count == 1 else [place for place in ranked if place.connected][:count]
        if len(chosen) < count:
            break
        if sum(place.available for place in chosen) >= model.size:
            return chosen[::-1]
    if sharding == "Tensor" and not model.supports_tensor:
        raise PlacementError(
            f"Requested Tensor sharding but this model does not support tensor parallelism: {model.id}"
        )
    raise PlacementError("No cycles found with sufficient memory")


def instance(model: Model, chosen: Sequence[Place], sharding: str = "Pipeline") -> dict[str, Any]:
    """Return a new instance over these nodes, as exo's JSON has it."""
    port = random.randrange(49153, 65535)  # noqa: S311 (a made-up port number)
    runners = {place.node_id: str(uuid.uuid4()) for place in chosen}
    bounds = _layers(model, chosen) if sharding == "Pipeline" else [(0, model.layers)] * len(chosen)
    shards = {
        runners[place.node_id]: shapes.shard(model, sharding, rank, len(chosen), bounds[rank])
        for rank, place in enumerate(chosen)
    }
    hosts = {
        here.node_id: [{"ip": "0.0.0.0" if there is here else there.address, "port": port} for there in chosen]  # noqa: S104 (text)
        for here in chosen
    }
    return {
        "MlxRingInstance": {
            "instanceId": str(uuid.uuid4()),
            "shardAssignments": {"modelId": model.id, "runnerToShard": shards, "nodeToRunner": runners},
            "hostsByNode": hosts,
            "ephemeralPort": port,
        }
    }


def previews(places: Sequence[Place], model: Model) -> list[dict[str, Any]]:
    """Return what `/instance/previews` does: each way and number of nodes, or why there is none."""
    found = []
    for sharding in ("Pipeline", "Tensor"):
        for meta in ("MlxRing", "MlxJaccl"):
            head: dict[str, Any] = {"model_id": model.id, "sharding": sharding, "instance_meta": meta}
            reason, done = "", False
            for count in range(1, len(places) + 1):
                try:
                    chosen = choose(places, model, sharding, meta, count)
                except PlacementError as error:
                    reason = str(error)
                    continue
                if len(chosen) == count:
                    done = True
                    share: dict[str, int] = {place.node_id: model.size // count for place in reversed(chosen)}
                    whole = instance(model, chosen, sharding)
                    found.append(head | {"instance": whole, "memory_delta_by_node": share, "error": None})
            if not done:
                found.append(head | {"instance": None, "memory_delta_by_node": None, "error": reason})
    return found


def _layers(model: Model, chosen: Sequence[Place]) -> list[tuple[int, int]]:
    """Share the layers out by memory."""
    total = sum(place.available for place in chosen) or len(chosen)
    bounds = []
    start, memory = 0, 0
    for place in chosen:
        memory += place.available
        end = model.layers if place is chosen[-1] else round(model.layers * memory / total)
        bounds.append((start, end))
        start = end
    return bounds
