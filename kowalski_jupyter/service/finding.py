"""Finds the model of a run, on the user's devices too: where exo has it on a disk but not in memory, it is loaded."""

from __future__ import annotations

import dataclasses

from kowalski_jupyter.cluster.cluster import Cluster
from kowalski_jupyter.models.base import ChatModel, Report
from kowalski_jupyter.models.discover import ModelSettings, find_model
from kowalski_jupyter.models.urls import origin


async def find_model_on(cluster: Cluster, settings: ModelSettings, report: Report) -> ChatModel:
    """Do what `find_model` does, with exo where it was discovered, and the model loaded there if it was asked for.

    Raises:
        ModelError: there is no model, or exo cannot load it; the text says why and what to do.
    """
    if settings.file:
        return await find_model(settings, report)
    snapshot = await cluster.look()
    for key in snapshot.clusters:
        urls = snapshot.urls(key)
        if not urls or (settings.url and origin(settings.url) not in urls):
            continue
        # Not as `url`: the key that goes with a given address is not for a device that was discovered.
        found = dataclasses.replace(settings, exo_url=urls[0])
        name = await cluster.models.known_as(settings.model, key) if settings.model else None
        if name is not None:
            await cluster.models.ensure(name, report, cluster=key)
            found = dataclasses.replace(found, model=name)
        return await find_model(found, report)
    return await find_model(settings, report)
