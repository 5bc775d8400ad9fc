"""Looks at one place where a model may be, and says what is there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import httpx

from kowalski_jupyter.models.client import get_json, listed_models, open_client
from kowalski_jupyter.models.exo import is_exo, look_for_exo
from kowalski_jupyter.models.found import UNKNOWN_WIDTH, Found, Offer, unready
from kowalski_jupyter.models.ollama import is_ollama, look_for_ollama
from kowalski_jupyter.models.urls import ServerKind, api_base, is_loopback, origin, where_is

LOCAL_CONNECT: Final = 0.3
"""Seconds to wait for a connection on this machine."""

LOCAL_PATIENCE: Final = 1.0
"""Seconds to wait for an answer on this machine, from a program that did take the connection."""

GIVEN_PATIENCE: Final = 3.0
"""Seconds to wait for an address that the user gave."""


async def probe_exo(url: str, model: str | None) -> Found:
    """Look for exo at `url`, with `model` or any loaded."""
    near = is_loopback(url)
    connect, patience = (LOCAL_CONNECT, LOCAL_PATIENCE) if near else (GIVEN_PATIENCE, GIVEN_PATIENCE)
    async with open_client(url, None, connect=connect) as client:
        node, models = await asyncio.gather(
            get_json(client, f"{origin(url)}/node_id", patience), listed_models(client, url, patience)
        )
        if not is_exo(node, models):
            return Found("exo", where_is(url, "exo"), there=False, ready=False, detail="not running", fix="uv run exo")
        return await look_for_exo(client, url, model, patience)


async def probe_ollama(url: str, model: str | None) -> Found:
    """Look for Ollama at `url`, with `model` or any."""
    async with open_client(url, None, connect=LOCAL_CONNECT) as client:
        version = await get_json(client, f"{origin(url)}/api/version", LOCAL_PATIENCE)
        if not is_ollama(version):
            where = where_is(url, "ollama")
            return Found("Ollama", where, there=False, ready=False, detail="not running", fix="ollama serve")
        return await look_for_ollama(client, url, model, LOCAL_PATIENCE)


async def probe_url(url: str, model: str | None, api_key: str | None) -> Found:
    """Look at an address that the user gave, whatever kind of server it is.

    Raises:
        ModelError: it is no address.
    """
    base = origin(url)
    async with open_client(url, api_key, connect=GIVEN_PATIENCE) as client:
        try:
            async with asyncio.timeout(GIVEN_PATIENCE):
                response = await client.get(f"{api_base(url)}/models")
        except (TimeoutError, httpx.TransportError) as error:
            detail = f"nothing answers there ({type(error).__name__})"
            fix = "start the server there, or set KOWALSKI_URL to another address"
            return Found("KOWALSKI_URL", where_is(url), there=False, ready=False, detail=detail, fix=fix)
        if response.status_code in {401, 403}:
            return unready("KOWALSKI_URL", where_is(url), "it wants an API key", "set KOWALSKI_API_KEY to one")
        models, node, version, props = await asyncio.gather(
            listed_models(client, url, GIVEN_PATIENCE),
            get_json(client, f"{base}/node_id", GIVEN_PATIENCE),
            get_json(client, f"{base}/api/version", GIVEN_PATIENCE),
            get_json(client, f"{base}/props", GIVEN_PATIENCE),
        )
        if is_exo(node, models):
            return await look_for_exo(client, url, model, GIVEN_PATIENCE, wait=True)
        if is_ollama(version):
            return await look_for_ollama(client, url, model, GIVEN_PATIENCE)
        return _openai(url, model, models, props)


def _openai(url: str, model: str | None, models: Sequence[dict[str, Any]], props: object) -> Found:
    kind: ServerKind = "llama.cpp" if isinstance(props, dict) and "default_generation_settings" in props else "openai"
    where, names = where_is(url, kind), [each["id"] for each in models]
    if model is None and len(names) != 1:
        known = f"it has {len(names)} models" if names else "it does not say which models it has"
        fix = f"set KOWALSKI_MODEL to one of: {_some(names)}" if names else "set KOWALSKI_MODEL to one"
        return unready("KOWALSKI_URL", where, known, fix)
    if model is not None and names and model not in names:
        return unready(
            "KOWALSKI_URL", where, f"it does not have {model}", f"set KOWALSKI_MODEL to one of: {_some(names)}", names
        )
    chosen = model or names[0]
    entry = next((each for each in models if each["id"] == chosen), {})
    context, width = _llama_cpp(props) if kind == "llama.cpp" else (_context(entry), UNKNOWN_WIDTH)
    return Found(
        "KOWALSKI_URL", where, there=True, ready=True, detail=chosen, offer=Offer(url, chosen, kind, context, width)
    )


def _some(names: Sequence[str], most: int = 20) -> str:
    return ", ".join(names[:most]) + (f" … ({len(names)} in all)" if len(names) > most else "")


def _llama_cpp(props: object) -> tuple[int | None, int]:
    """Window and slots from ``/props``."""
    settings = props.get("default_generation_settings") if isinstance(props, dict) else None
    context = settings.get("n_ctx") if isinstance(settings, dict) else None
    slots = props.get("total_slots") if isinstance(props, dict) else None
    return (
        context if isinstance(context, int) and context > 0 else None,
        slots if isinstance(slots, int) and slots > 0 else 1,
    )


def _context(entry: dict[str, Any]) -> int | None:
    """The served window from a model's entry, under the names that vLLM and model routers use.

    What a model was trained for (llama.cpp's ``n_ctx_train``) is no answer: less may be served.
    """
    for key in ("max_model_len", "context_length"):
        if isinstance(entry.get(key), int) and entry[key] > 0:
            return int(entry[key])
    return None
