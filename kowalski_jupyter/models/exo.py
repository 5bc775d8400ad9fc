"""exo: which models are loaded in the cluster, and how to ask them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx

from kowalski_jupyter.models.client import PATIENCE, get_json
from kowalski_jupyter.models.found import Found, Offer, unready
from kowalski_jupyter.models.urls import origin, where_is

EXO_WIDTH: Final = 8
"""Requests that one exo instance works on at a time; further ones queue (EXO_MAX_CONCURRENT_REQUESTS)."""

_SUGGESTED: Final = "mlx-community/Qwen3-30B-A3B-4bit"
_READY: Final = {"RunnerReady", "RunnerRunning"}


@dataclass(frozen=True, slots=True)
class ExoInstance:
    """One model loaded, or being loaded, over some devices."""

    model: str
    context_tokens: int | None
    devices: int
    ready: bool


def is_exo(node: object, models: Sequence[dict[str, Any]]) -> bool:
    """Tell exo by its answers to ``/node_id`` and ``/v1/models``."""
    return isinstance(node, str) and any(model.get("owned_by") == "exo" for model in models)


async def look_for_exo(
    client: httpx.AsyncClient, url: str, model: str | None, patience: float, *, wait: bool = False
) -> Found:
    """Say what exo has loaded. With `wait`, what is still being loaded will do: exo holds requests until then."""
    where = where_is(url, "exo")
    instances = await exo_instances(client, url, patience)
    if not instances:
        body = json.dumps({"model_id": model or _SUGGESTED})
        place = f"curl {origin(url)}/place_instance -H 'Content-Type: application/json' -d '{body}'"
        return unready("exo", where, "running, but no model is loaded", place)
    wanted = [each for each in instances if model is None or each.model == model]
    if not wanted:
        loaded = ", ".join(sorted({each.model for each in instances}))
        return unready("exo", where, f"{model} is not loaded, but {loaded}", f"set KOWALSKI_MODEL to one of: {loaded}")
    best = wanted[0]
    if not best.ready and not wait:
        return unready("exo", where, f"{best.model} is still being loaded", "wait a little, then run again")
    replicas = sum(each.model == best.model and each.ready for each in instances)
    offer = Offer(url, best.model, "exo", best.context_tokens, EXO_WIDTH * max(1, replicas))
    devices = f"{best.devices} device{'s' if best.devices != 1 else ''}"
    return Found("exo", where, there=True, ready=True, detail=f"{best.model} on {devices}", offer=offer)


async def exo_instances(client: httpx.AsyncClient, url: str, patience: float = PATIENCE) -> list[ExoInstance]:
    """Return what is loaded in an exo cluster; exo before 1.0.70 has no parts of ``/state``."""
    base = origin(url)
    instances, runners = await asyncio.gather(
        get_json(client, f"{base}/state/instances", patience), get_json(client, f"{base}/state/runners", patience)
    )
    if instances is None:
        state = await get_json(client, f"{base}/state", patience)
        if isinstance(state, dict):
            instances, runners = state.get("instances"), state.get("runners")
    return read_instances(instances, runners)


def read_instances(instances: object, runners: object) -> list[ExoInstance]:
    """Read ``/state/instances`` and ``/state/runners``: the ready ones first, unreadable ones left out.

    An instance is an object with one key, its class: ``{"MlxRingInstance": {…}}``. It is ready if all
    of its own runners are; `runners` also holds those of instances long gone.
    """
    states = {key: next(iter(state), "") for key, state in runners.items()} if isinstance(runners, dict) else {}
    found = []
    for instance in _values(instances):
        for body in _values(instance):
            shards = body.get("shardAssignments")
            model = shards.get("modelId") if isinstance(shards, dict) else None
            if not isinstance(shards, dict) or not isinstance(model, str):
                continue
            own = list((shards.get("nodeToRunner") or {}).values())
            found.append(
                ExoInstance(
                    model=model,
                    context_tokens=_context(shards.get("runnerToShard")),
                    devices=len(own),
                    ready=bool(own) and all(states.get(runner) in _READY for runner in own),
                )
            )
    return sorted(found, key=lambda instance: not instance.ready)


def _context(shards: object) -> int | None:
    for tagged in _values(shards):
        for shard in _values(tagged):
            card = shard.get("modelCard")
            length = card.get("contextLength") if isinstance(card, dict) else None
            if isinstance(length, int) and length > 0:
                return length
    return None


def _values(mapping: object) -> Iterator[dict[str, Any]]:
    if isinstance(mapping, dict):
        yield from (value for value in mapping.values() if isinstance(value, dict))
