"""A simulated exo cluster for tests that block."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from kowalski_jupyter.exo_sim import Device, Model, Simulation

GIB = 1 << 30
SMALL, HUGE = "mlx-community/Small-1B-4bit", "mlx-community/Huge-1T-4bit"
DEVICES = (
    Device(name="studio", available=40 * GIB),
    Device(name="air", model="MacBook Air", chip="Apple M2", memory=16 * GIB, available=6 * GIB),
    Device(name="box", mac=False, memory=8 * GIB, available=5 * GIB),
)
MODELS = (Model(SMALL, size=GIB), Model(HUGE, size=900 * GIB, downloaded=False))


@contextmanager
def simulated(**how: Any) -> Iterator[Simulation]:
    """A cluster of three devices, kept on a thread, of which nothing is left afterwards."""
    settings = {"nodes": DEVICES, "models": MODELS, "speed": 10.0, "replies": "from exo"}
    begun: Future[Simulation] = Future()
    ended = asyncio.Event()

    async def keep() -> None:
        try:
            async with Simulation(**{**settings, **how}) as sim:
                begun.set_result(sim)
                await ended.wait()
        except BaseException as error:
            if begun.done():
                raise
            begun.set_exception(error)

    with ThreadPoolExecutor(1) as aside, asyncio.Runner() as runner:
        kept = aside.submit(runner.run, keep())
        sim = begun.result()
        try:
            yield sim
        finally:
            runner.get_loop().call_soon_threadsafe(ended.set)
            kept.result()
