"""All models that there are: those of every cluster, of the servers that were given, and of this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from kowalski_jupyter.cluster.catalogue import KnownModel
from kowalski_jupyter.cluster.cluster import Cluster
from kowalski_jupyter.models.discover import ModelSettings
from kowalski_jupyter.models.embedded import server as embedded
from kowalski_jupyter.models.embedded import weights
from kowalski_jupyter.models.served import Served, served_at
from kowalski_jupyter.models.urls import origin
from kowalski_jupyter.service.finding import EMBEDDED, addresses


async def known_models(cluster: Cluster, settings: ModelSettings) -> list[KnownModel]:
    """Return them, those of one place after those of another.

    Args:
        cluster: the user's devices.
        settings: where else is looked: at the addresses that were given, or where a run would look without any.
    """
    of_clusters = await cluster.models.catalogue()
    covered = {url for key in cluster.snapshot.clusters for url in cluster.snapshot.urls(key)}
    given = addresses(settings.url) or [settings.ollama_url, *([EMBEDDED] if settings.embedded else [])]
    others = [url for url in given if url != EMBEDDED and origin(url) not in covered]
    served = await asyncio.gather(*(served_at(url, settings.api_key) for url in others))
    on_servers = [_known(each) for at in served for each in at]
    return [*of_clusters, *on_servers, *(_embedded() if EMBEDDED in given else ())]


def _known(served: Served) -> KnownModel:
    return KnownModel(
        served.id,
        served.size,
        None,
        "ready" if served.loaded else "",
        downloaded=served.size > 0 or not served.loaded,
        devices=None,
        tensor=False,
        where=served.where,
        loadable=False,
    )


def _embedded() -> Iterator[KnownModel]:
    if not embedded.missing():
        default = weights.DEFAULT_WEIGHTS
        here = weights.present() is not None
        yield KnownModel(
            default.name, default.size, None, "", here, None, tensor=False, where=embedded.WHERE, loadable=False
        )
