"""Which models a server has, for a list of what there is."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import httpx

from kowalski_jupyter.models.base import ModelError
from kowalski_jupyter.models.client import get_json, listed_models, open_client
from kowalski_jupyter.models.exo import exo_instances, is_exo
from kowalski_jupyter.models.ollama import is_ollama, models_of
from kowalski_jupyter.models.probes import GIVEN_PATIENCE, LOCAL_CONNECT, LOCAL_PATIENCE
from kowalski_jupyter.models.urls import is_loopback, origin, where_is


@dataclass(frozen=True, slots=True)
class Served:
    """A model that a server has.

    Attributes:
        id: what a request asks for.
        where: the server, in words.
        size: in bytes; 0 if it does not say.
        loaded: whether it is known to be in memory; a server that keeps to one state has all of its models there.
    """

    id: str
    where: str
    size: int = 0
    loaded: bool = True


async def served_at(url: str, api_key: str | None) -> list[Served]:
    """Return the models of the server at an address, whatever it is; empty if nothing answers there as one.

    Args:
        url: of the server.
        api_key: given only to one that tells nothing without.
    """
    try:
        return await _served(url, None) or (await _served(url, api_key) if api_key else [])
    except (ModelError, httpx.HTTPError):
        return []


async def _served(url: str, api_key: str | None) -> list[Served]:
    near = is_loopback(url)
    connect, patience = (LOCAL_CONNECT, LOCAL_PATIENCE) if near else (GIVEN_PATIENCE, GIVEN_PATIENCE)
    async with open_client(url, api_key, connect=connect) as client:
        listed, node, version = await asyncio.gather(
            listed_models(client, url, patience),
            get_json(client, f"{origin(url)}/node_id", patience),
            get_json(client, f"{origin(url)}/api/version", patience),
        )
        if is_exo(node, listed):
            loaded = {instance.model for instance in await exo_instances(client, url)}
            return [Served(model, where_is(url, "exo")) for model in sorted(loaded)]
        if is_ollama(version):
            where = where_is(url, "ollama")
            return [Served(name, where, size, loaded) for name, size, loaded in await models_of(client, url, patience)]
        return [Served(each["id"], where_is(url)) for each in listed]
