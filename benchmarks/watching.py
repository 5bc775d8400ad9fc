"""What it costs to find a cluster and to watch it: `python -m benchmarks.watching`, on simulated nodes."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from kowalski_jupyter.cluster.cluster import SLOW, Cluster
from kowalski_jupyter.exo_sim import Model, Simulation

MODEL = Model("mlx-community/Test-1B-4bit")
NOWHERE = "http://127.0.0.1:9"
SECONDS = 30.0
ROUNDS = 10
CATALOGUE = 123


@asynccontextmanager
async def cluster_at(*addresses: str) -> AsyncIterator[Cluster]:
    """A cluster whose list of known nodes is empty."""
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder, "devices.json"), addresses, local=NOWHERE)
        try:
            yield cluster
        finally:
            await cluster.close()


async def seconds_to_show(sim: Simulation) -> float:
    """From asking, with nothing known but one address, to a picture of all devices."""
    async with cluster_at(sim.url) as cluster:
        begun = time.perf_counter()
        snapshot = await cluster.look()
        seconds = time.perf_counter() - begun
        assert len(snapshot.devices) >= len(sim.urls)
        return seconds


async def seconds_to_notice() -> float:
    """From a cluster's start to its being shown to somebody who looks, where nothing was before."""
    async with Simulation(nodes=3, models=[MODEL], speed=1.0) as sim:
        port = int(sim.url.rpartition(":")[2])
    async with cluster_at(f"http://127.0.0.1:{port}") as cluster:
        found = asyncio.Event()
        cluster.watch(lambda: found.set() if cluster.snapshot.devices else None)
        with cluster.looking():
            await cluster.look()
            async with Simulation(nodes=3, models=[MODEL], speed=1.0, port=port):
                begun = time.perf_counter()
                await found.wait()
                return time.perf_counter() - begun


async def cost(sim: Simulation, *, close: bool) -> dict[str, float]:
    """Bytes and processor time of a minute's watch, of ours and of the nodes' processes."""
    told = await sim.tell()
    nodes = [psutil.Process(pid) for pid in told["pids"] if pid]
    async with cluster_at(sim.url) as cluster:
        await cluster.look()
        if close:
            with cluster.looking():
                return await _spent(cluster, nodes)
        return await _spent(cluster, nodes)


async def _spent(cluster: Cluster, nodes: list[psutil.Process]) -> dict[str, float]:
    await asyncio.sleep(2)  # past what is asked for once
    begun, received, ours = time.perf_counter(), cluster.exo.received, time.process_time()
    theirs = sum(sum(node.cpu_times()[:2]) for node in nodes)
    await asyncio.sleep(SECONDS)
    minutes = (time.perf_counter() - begun) / 60
    return {
        "kB a minute": (cluster.exo.received - received) / 1e3 / minutes,
        "our CPU, s a minute": (time.process_time() - ours) / minutes,
        "simulated nodes' CPU, s a minute": (sum(sum(node.cpu_times()[:2]) for node in nodes) - theirs) / minutes,
    }


async def main() -> None:
    print(f"load average {psutil.getloadavg()[0]:.1f} of {psutil.cpu_count()} processors")
    noticed = await seconds_to_notice()
    print(f"a cluster that appears while somebody looks: shown {noticed:.2f} s after its start")
    for phantoms in (0, 97):
        async with Simulation(nodes=3, models=[MODEL], phantom_nodes=phantoms, catalogue=CATALOGUE, speed=1.0) as sim:
            await sim.place(MODEL.id, nodes=3)
            shown = [await seconds_to_show(sim) for _ in range(ROUNDS)]
            print(f"{3 + phantoms} nodes:")
            median, least, most = (1e3 * figure for figure in (statistics.median(shown), min(shown), max(shown)))
            print(f"  shown after {median:.0f} ms (least {least:.0f}, most {most:.0f})")
            for close in (True, False):
                rhythm = "once a second" if close else f"every {SLOW:.0f} s"
                figures = await cost(sim, close=close)
                print(f"  {rhythm}: " + ", ".join(f"{value:.2f} {name}" for name, value in figures.items()))


if __name__ == "__main__":
    asyncio.run(main())
