"""Which model a run gets: an address that the user gives is exo's as much as one that was discovered."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kowalski_jupyter.cluster.cluster import Cluster
from kowalski_jupyter.cluster.routing.pool import Pool
from kowalski_jupyter.cluster.routing.router import Router
from kowalski_jupyter.exo_sim import Model, Reply, Simulation
from kowalski_jupyter.models.base import ChatModel, ModelError, ModelUnreachableError
from kowalski_jupyter.models.discover import ModelSettings
from kowalski_jupyter.models.openai import OpenAIModel
from kowalski_jupyter.service.finding import find_model_on
from tests.cluster.support import free_url
from tests.support.scripted_server import ScriptedServer

MODEL = "mlx-community/Small-1B-4bit"


def ignore(_text: str, _part: float | None, _size: int | None) -> None:
    """Listen to no report."""


async def place_of(cluster: Cluster, url: str | None) -> str:
    """Return what kind of model a run gets that was given `url`."""
    router = Router(cluster)
    nowhere = free_url()
    settings = ModelSettings(url=url, embedded=False, exo_url=nowhere, ollama_url=nowhere)
    try:
        model: ChatModel = await find_model_on(router, settings, ignore)
        found = "routed" if isinstance(model, Pool) else "direct" if isinstance(model, OpenAIModel) else "other"
        await model.aclose()
        return found
    finally:
        await router.close()


@pytest.mark.parametrize("spelt", ["127.0.0.1", "localhost", "user:secret@127.0.0.1"])
def test_exo_at_a_given_address_is_routed_though_no_search_has_found_it(spelt: str, tmp_path: Path) -> None:
    async def go() -> None:
        cluster = Cluster(tmp_path / "devices.json", local=free_url())
        try:
            await cluster.look()  # the search is over before there is anything to find
            async with Simulation(2, models=[Model(MODEL, size=1 << 30)], replies=Reply("ok"), speed=10) as sim:
                await sim.place(MODEL)
                url = sim.url.replace("127.0.0.1", spelt)
                assert await place_of(cluster, url) == "routed"
                assert await place_of(cluster, f"{url}/v1") == "routed"
                assert len(cluster.snapshot.clusters) == 1
        finally:
            await cluster.close()

    asyncio.run(go())


def test_an_address_that_one_run_was_given_is_no_place_for_others(tmp_path: Path) -> None:
    async def go() -> None:
        known = tmp_path / "devices.json"
        async with Simulation(2, models=[Model(MODEL, size=1 << 30)], replies=Reply("ok"), speed=10) as sim:
            await sim.place(MODEL)
            cluster = Cluster(known, local=free_url())
            try:
                assert await place_of(cluster, sim.url) == "routed"
                with pytest.raises(ModelError, match="No model was found"):
                    await place_of(cluster, None)
                assert await cluster.models.catalogue() == []
            finally:
                await cluster.close()
            assert not known.exists() or sim.url not in known.read_text()
            cluster = Cluster(known, [sim.url], local=free_url())
            try:
                assert await place_of(cluster, sim.url) == await place_of(cluster, None) == "routed"
            finally:
                await cluster.close()

    asyncio.run(go())


def test_another_server_at_a_given_address_is_asked_itself(tmp_path: Path) -> None:
    async def go() -> None:
        cluster = Cluster(tmp_path / "devices.json", local=free_url())
        try:
            with ScriptedServer() as server:
                assert await place_of(cluster, server.url) == "direct"
            assert not cluster.snapshot.clusters
            with pytest.raises(ModelUnreachableError):
                await place_of(cluster, free_url())
        finally:
            await cluster.close()

    asyncio.run(go())
