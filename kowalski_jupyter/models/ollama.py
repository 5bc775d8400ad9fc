"""Ollama: which models it has, and how large a window it will give them."""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

import httpx

from kowalski_jupyter.models.client import PATIENCE, get_json
from kowalski_jupyter.models.found import Found, Offer, unready
from kowalski_jupyter.models.urls import origin, where_is

OLLAMA_WIDTH: Final = 4
"""Requests at a time. ``OLLAMA_NUM_PARALLEL`` is 1 to 4 and cannot be asked for; a few may queue."""

OLLAMA_CONTEXT: Final = 4096
"""The window that Ollama gives unless ``num_ctx`` is set; it cuts longer prompts in silence."""


def is_ollama(version: object) -> bool:
    """Tell Ollama by its answer to ``/api/version``."""
    return isinstance(version, dict) and isinstance(version.get("version"), str)


async def look_for_ollama(client: httpx.AsyncClient, url: str, model: str | None, patience: float) -> Found:
    """Say what Ollama has. Without `model`: one for code if there is one, else the largest."""
    where, base = where_is(url, "ollama"), origin(url)
    tags, running = await asyncio.gather(
        get_json(client, f"{base}/api/tags", patience), get_json(client, f"{base}/api/ps", patience)
    )
    models = [each for each in _entries(tags) if "embed" not in str(each["name"]) and not _embeds(each)]
    if not models:
        pull = f"ollama pull {model or 'qwen2.5-coder:7b'}"
        return unready("Ollama", where, "running, but it has no model", pull)
    if model is None:
        chosen = max(models, key=lambda each: ("coder" in each["name"], _size(each)))["name"]
    else:
        same = [each["name"] for each in models if each["name"] in {model, f"{model}:latest"}]
        if not same:
            names = [str(each["name"]) for each in models]
            return unready("Ollama", where, f"it does not have {model}", f"ollama pull {model}", names)
        chosen = same[0]
    served = [each.get("context_length") for each in _entries(running) if each["name"] == chosen]
    context = next((each for each in served if isinstance(each, int) and each > 0), None)
    offer = Offer(f"{base}/v1", chosen, "ollama", context or await _ollama_context(client, base, chosen), OLLAMA_WIDTH)
    return Found("Ollama", where, there=True, ready=True, detail=chosen, offer=offer)


async def models_of(client: httpx.AsyncClient, url: str, patience: float) -> list[tuple[str, int, bool]]:
    """Return name, size in bytes and whether it is in memory of all that Ollama has."""
    base = origin(url)
    tags, running = await asyncio.gather(
        get_json(client, f"{base}/api/tags", patience), get_json(client, f"{base}/api/ps", patience)
    )
    loaded = {each["name"] for each in _entries(running)}
    return [(each["name"], _size(each), each["name"] in loaded) for each in _entries(tags)]


async def _ollama_context(client: httpx.AsyncClient, base: str, model: str) -> int:
    """Return the window that a model not yet loaded will surely get; it may turn out to get more."""
    try:
        async with asyncio.timeout(PATIENCE):
            shown = (await client.post(f"{base}/api/show", json={"model": model})).json()
    except (TimeoutError, httpx.HTTPError, ValueError):
        shown = None
    if not isinstance(shown, dict):
        return OLLAMA_CONTEXT
    set_to = re.search(r"^\s*num_ctx\s+(\d+)", str(shown.get("parameters") or ""), re.MULTILINE)
    info = shown.get("model_info")
    lengths = [v for k, v in info.items() if k.endswith(".context_length")] if isinstance(info, dict) else []
    most = next((length for length in lengths if isinstance(length, int) and length > 0), None)
    context = int(set_to[1]) if set_to else OLLAMA_CONTEXT
    return min(context, most) if most else context


def _entries(answer: object) -> list[dict[str, Any]]:
    models = answer.get("models") if isinstance(answer, dict) else None
    if not isinstance(models, list):
        return []
    return [each for each in models if isinstance(each, dict) and isinstance(each.get("name"), str)]


def _embeds(entry: dict[str, Any]) -> bool:
    details = entry.get("details")
    return isinstance(details, dict) and "bert" in str(details.get("family"))


def _size(entry: dict[str, Any]) -> int:
    size = entry.get("size")
    return size if isinstance(size, int) else 0
