"""HTTP to model servers: the client, and questions to a server about itself."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import httpx

from kowalski_jupyter.models.transport import NearTransport
from kowalski_jupyter.models.urls import api_base, is_loopback

PATIENCE: Final = 2.0
"""Seconds for a question to a server about itself."""


def near_transport(url: str, *, connect: float) -> NearTransport | None:
    """Return a transport for the server at `url` if that is on this machine; whoever asks for it closes it."""
    return NearTransport(connect) if is_loopback(url) and not _is_secure(url) else None


def open_client(
    url: str, api_key: str | None, *, connect: float, near: NearTransport | None = None
) -> httpx.AsyncClient:
    """Return a client for the server at `url`; whoever asks for it closes it.

    It has no read timeout: that of httpx could not tell a token from a keep-alive. Its certificates are not even
    loaded for ``http:``, which takes longer than a request.
    """
    secure = _is_secure(url)
    near = near or near_transport(url, connect=connect)
    return httpx.AsyncClient(
        headers={"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {}),
        timeout=httpx.Timeout(None, connect=connect),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=30),
        verify=secure,
        transport=near,
        trust_env=near is None,
    )


def open_near_client(*, connect: float) -> httpx.AsyncClient:
    """Return a client for any number of servers in the user's own network; whoever asks for it closes it.

    No proxy is asked for them. Like `open_client` it has no read timeout.
    """
    return httpx.AsyncClient(
        headers={"Accept-Encoding": "identity"},
        transport=NearTransport(connect),
        verify=False,  # noqa: S501 (there is no TLS to it)
        trust_env=False,
    )


def _is_secure(url: str) -> bool:
    return api_base(url).startswith("https:")


async def get_json(client: httpx.AsyncClient, url: str, patience: float = PATIENCE) -> Any:
    """Return the decoded answer of a GET, or None if there is no good one within `patience` seconds."""
    try:
        async with asyncio.timeout(patience):
            response = await client.get(url)
        return response.json() if response.status_code == httpx.codes.OK else None
    except (TimeoutError, httpx.HTTPError, ValueError, RecursionError):
        return None


async def listed_models(client: httpx.AsyncClient, url: str, patience: float = PATIENCE) -> list[dict[str, Any]]:
    """Return the entries of ``/v1/models`` that have an id."""
    answer = await get_json(client, f"{api_base(url)}/models", patience)
    entries = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(entries, list):
        return []
    return [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
