"""Which models a server can answer with at once: each kind of server says it in its own way."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from kowalski_jupyter.models.exo import ExoInstance, read_instances
from kowalski_jupyter.models.urls import ServerKind, api_base, origin

_PATIENCE = 2.0


async def get_json(client: httpx.AsyncClient, url: str, patience: float = _PATIENCE) -> Any:  # noqa: ANN401 - it is JSON
    """Return the decoded answer of a GET, or None if there is no good one within `patience` seconds."""
    try:
        async with asyncio.timeout(patience):
            response = await client.get(url)
        return response.json() if response.status_code == httpx.codes.OK else None
    except (TimeoutError, httpx.HTTPError, ValueError, RecursionError):
        return None


async def ready_models(client: httpx.AsyncClient, url: str, kind: ServerKind) -> list[str]:
    """Return the ids of the models that can be asked; empty if the server does not say."""
    if kind == "exo":
        # exo's /v1/models is its catalogue, of which nearly nothing is loaded.
        return sorted({instance.model for instance in await exo_instances(client, url)})
    return [model["id"] for model in await listed_models(client, url)]


async def listed_models(client: httpx.AsyncClient, url: str) -> list[dict[str, Any]]:
    """Return the entries of ``/v1/models`` that have an id."""
    answer = await get_json(client, f"{api_base(url)}/models")
    entries = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(entries, list):
        return []
    return [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]


async def exo_instances(client: httpx.AsyncClient, url: str) -> list[ExoInstance]:
    """Return what is loaded in an exo cluster; exo before 1.0.70 has no parts of ``/state``."""
    base = origin(url)
    instances, runners = await asyncio.gather(
        get_json(client, f"{base}/state/instances"), get_json(client, f"{base}/state/runners")
    )
    if instances is None:
        state = await get_json(client, f"{base}/state")
        if isinstance(state, dict):
            instances, runners = state.get("instances"), state.get("runners")
    return read_instances(instances, runners)
