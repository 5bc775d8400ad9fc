"""What a user may write as the address of a server, and how to say it back."""

from __future__ import annotations

import ipaddress
from typing import Final, Literal

import httpx

from kowalski_jupyter.models.base import ModelError

ServerKind = Literal["openai", "exo", "ollama", "llama.cpp"]
"""What answers at an address. ``openai``: it speaks the protocol, and nothing more is known."""

_NAMES: Final = {"exo": "exo", "ollama": "Ollama", "llama.cpp": "llama.cpp"}


def parse_url(url: str) -> httpx.URL:
    """Read a base URL; a missing ``http://`` is added, since ``localhost:8080`` is what people type.

    Raises:
        ModelError: it is no address of a web server.
    """
    text = url.strip()
    try:
        parsed = httpx.URL(text if "://" in text else f"http://{text}")
    except (httpx.InvalidURL, ValueError):
        parsed = httpx.URL("")
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise ModelError(
            "KOWALSKI_URL is not the address of a server. Write it like http://localhost:8080 or https://host/v1."
        )
    return parsed.copy_with(query=None, fragment=None)


def origin(url: str) -> str:
    """Return scheme, host and port, where servers have their own routes beside the OpenAI ones."""
    return str(parse_url(url).copy_with(path="/", username="", password="")).rstrip("/")


def api_base(url: str) -> str:
    """Return the URL that ``/chat/completions`` and ``/models`` are appended to.

    A bare address gets the usual ``/v1``; a path that the user wrote is kept.
    """
    parsed = parse_url(url)
    path = parsed.path.rstrip("/").removesuffix("/chat/completions")
    return str(parsed.copy_with(path=path or "/v1"))


def is_loopback(url: str) -> bool:
    """Tell whether `url` is on this machine, so that no proxy may be asked for it."""
    host = parse_url(url).host
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def where_is(url: str, kind: ServerKind = "openai") -> str:
    """Say where a server is, without any password that the URL may hold: ``exo at localhost:52415``."""
    parsed = parse_url(url)
    place = parsed.netloc.decode("ascii")
    return f"{_NAMES[kind]} at {place}" if kind in _NAMES else place
