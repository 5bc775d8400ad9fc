"""Pools of scripted servers and of simulated clusters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kowalski_jupyter.cluster.cluster import Cluster
from kowalski_jupyter.cluster.routing.pool import Pool
from kowalski_jupyter.cluster.routing.router import Router
from kowalski_jupyter.models.base import Job, JobKind, Message, Sampling
from kowalski_jupyter.models.openai import OpenAIModel
from tests.support.scripted_server import ScriptedServer


@dataclass
class Desk:
    """A pool, and what it has told."""

    router: Router
    pool: Pool
    told: list[str] = field(default_factory=list)

    async def ask(self, prompt: str, kind: JobKind = "subcall", *, seed: int = 0, tokens: int = 100) -> str:
        """The text of a reply, as someone who minds restarts puts it together."""
        pieces: list[str] = []
        job = Job(kind, tell=self.told.append)
        async for delta in self.pool.route([Message("user", prompt)], Sampling(seed=seed, max_tokens=tokens), job):
            if delta.restarted:
                pieces.clear()
            pieces.append(delta.text)
        return "".join(pieces)

    async def ask_many(self, count: int) -> list[str]:
        return await asyncio.gather(*(self.ask(f"Number {n}", seed=n) for n in range(count)))


Open = Callable[..., Any]


@pytest.fixture
def open_pool(tmp_path: Path) -> Open:
    """Opens a pool of servers, each with what is known of it."""

    @asynccontextmanager
    async def open_(servers: Sequence[tuple[ScriptedServer, dict[str, Any]]], **how: Any) -> AsyncIterator[Desk]:
        cluster = Cluster(tmp_path / "devices.json", local="")
        router = Router(cluster, **how)
        try:
            ends = [
                await router.plain(server.url, OpenAIModel(server.url, "scripted", **known))
                for server, known in servers
            ]
            yield Desk(router, Pool(router, ends))
        finally:
            await router.close()
            await cluster.close()

    return open_


@pytest.fixture
def open_exo_pool(tmp_path: Path) -> Open:
    """Opens a pool of the clusters that nodes at some addresses belong to."""

    @asynccontextmanager
    async def open_(urls: Sequence[str], model: str, replicas: int, **how: Any) -> AsyncIterator[Desk]:
        cluster = Cluster(tmp_path / "devices.json", urls, local="")
        router = Router(cluster, **how)
        try:
            with cluster.looking():
                async with asyncio.timeout(60):
                    while (
                        len(cluster.snapshot.clusters) < len(urls) or len(cluster.snapshot.of_model(model)) < replicas
                    ):
                        await cluster.look()
                ends = [router.exo(key, model, 8192) for key in cluster.snapshot.clusters]
                yield Desk(router, Pool(router, ends))
        finally:
            await router.close()
            await cluster.close()

    return open_
