"""Finds the model of a run, on the user's devices too, and makes one of several where several were given.

Where exo has a model on a disk but not in memory, it is loaded.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re

from kowalski_jupyter.cluster.routing.end import End
from kowalski_jupyter.cluster.routing.pool import Pool
from kowalski_jupyter.cluster.routing.router import Router
from kowalski_jupyter.models.base import ChatModel, ModelError, Report
from kowalski_jupyter.models.discover import ModelSettings, find_model
from kowalski_jupyter.models.embedded.server import start_embedded
from kowalski_jupyter.models.openai import OpenAIModel
from kowalski_jupyter.models.urls import origin

EMBEDDED = "embedded"
"""What stands for the embedded model in a list of addresses."""


def addresses(url: str | None) -> list[str]:
    """Return the addresses in a list of them with commas or spaces, or in what is only one."""
    return list(dict.fromkeys(re.findall(r"[^\s,]+", url or "")))


async def find_model_on(router: Router, settings: ModelSettings, report: Report) -> ChatModel:
    """Do what `find_model` does, with exo where it was discovered, and several addresses as one model.

    Raises:
        ModelError: there is no model, or exo cannot load it; the text says why and what to do.
    """
    given = addresses(settings.url)
    if len(given) < 2:  # noqa: PLR2004 (one is asked as it is)
        return await _at(router, dataclasses.replace(settings, url=given[0] if given else None), report)
    found = await asyncio.gather(
        *(_ends_at(router, dataclasses.replace(settings, url=each), report) for each in given), return_exceptions=True
    )
    ends: dict[str, End] = {}
    refused: list[ModelError] = []
    for each in found:
        if isinstance(each, ModelError):
            refused.append(each)
        elif isinstance(each, BaseException):
            raise each
        else:
            ends |= {end.key: end for end in each}
    if not ends:
        error = ModelError("None of the addresses can be used:\n" + "\n".join(f"- {reason}" for reason in refused))
        error.available = [model for reason in refused for model in reason.available]
        raise error
    for reason in refused:
        report(f"one of the addresses is not used: {reason}", None, None)
    return Pool(router, list(ends.values()))


async def _ends_at(router: Router, settings: ModelSettings, report: Report) -> list[End]:
    """Return the ends at one of several addresses. Only a server that wants a key is given one."""
    if settings.url == EMBEDDED:
        return [await router.plain(EMBEDDED, await start_embedded(report))]
    try:
        model = await _at(router, dataclasses.replace(settings, api_key=None), report)
    except ModelError:
        if settings.api_key is None:
            raise
        model = await _at(router, settings, report)
    if isinstance(model, Pool):
        return model.ends
    return [await router.plain(f"{settings.url} {model.name}", model)]


async def _at(router: Router, settings: ModelSettings, report: Report) -> ChatModel:
    """Find the model at the one address that is given, or wherever there is one."""
    cluster = router.cluster
    if settings.file:
        return await find_model(settings, report)
    if settings.url == EMBEDDED:
        return await start_embedded(report)
    only = await cluster.at(origin(settings.url)) if settings.url else None
    if settings.url and only is None:
        return await find_model(settings, report)
    snapshot = await cluster.look()
    keys = [*snapshot.answering(only)]
    if not keys:
        return await find_model(settings, report)
    first, *others = keys
    # Not as `url`: the key that goes with a given address is not for a device that was discovered.
    found = dataclasses.replace(settings, exo_url=snapshot.urls(first)[0])
    name = await cluster.models.known_as(settings.model, first) if settings.model else None
    if name is not None:
        await cluster.models.ensure(name, report, cluster=first)
        found = dataclasses.replace(found, model=name)
    model = await find_model(found, report)
    if not isinstance(model, OpenAIModel) or model.kind != "exo":
        return model
    await model.aclose()
    ready = {each.cluster for each in cluster.snapshot.of_model(model.name)}
    places = [first, *(key for key in others if key in ready)]
    return Pool(router, [router.exo(key, model.name, model.context_tokens) for key in places])
