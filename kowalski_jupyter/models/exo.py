"""exo: which models are loaded in the cluster, and how to ask them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Final

import httpx

from kowalski_jupyter.models.client import PATIENCE, get_json
from kowalski_jupyter.models.found import Found, Offer, unready
from kowalski_jupyter.models.instances import Instance, read_instances
from kowalski_jupyter.models.urls import origin, where_is

EXO_WIDTH: Final = 8
"""Requests that one exo instance works on at a time; further ones queue (EXO_MAX_CONCURRENT_REQUESTS)."""

_SUGGESTED: Final = "mlx-community/Qwen3-30B-A3B-4bit"


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
        models = sorted({each.model for each in instances})
        loaded = ", ".join(models)
        fix = f"set KOWALSKI_MODEL to one of: {loaded}"
        return unready("exo", where, f"{model} is not loaded, but {loaded}", fix, models)
    best = wanted[0]
    if not best.ready and not wait:
        return unready("exo", where, f"{best.model} is still being loaded", "wait a little, then run again")
    replicas = sum(each.model == best.model and each.ready for each in instances)
    offer = Offer(url, best.model, "exo", best.context_tokens, EXO_WIDTH * max(1, replicas))
    devices = f"{len(best.nodes)} device{'s' if len(best.nodes) != 1 else ''}"
    return Found("exo", where, there=True, ready=True, detail=f"{best.model} on {devices}", offer=offer)


async def exo_instances(client: httpx.AsyncClient, url: str, patience: float = PATIENCE) -> list[Instance]:
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
