"""How long a child kernel takes to be ready, and what it costs: started from nothing, forked, taken from the pool.

``python -m benchmarks.kernels [ROUNDS]`` measures all three in turn, round by round, and prints a table.
"""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from kowalski_jupyter.kernels.base import Output, Query, Value
from kowalski_jupyter.kernels.child import ChildKernel
from kowalski_jupyter.kernels.pool import KernelPool

MANY = 8
READY = "one kernel: asked to first output, ms"
ALL_READY = f"{MANY} at once: asked to the last one's first output, ms"
WAYS = ("cold", "fork", "pool")


class _NoCalls:
    """A run that is never asked anything."""

    async def llm_query(self, prompt: str, options: Mapping[str, Any]) -> Any:
        raise NotImplementedError

    async def llm_query_batched(self, prompts: Sequence[str], options: Mapping[str, Any]) -> list[Any | Exception]:
        raise NotImplementedError

    async def rlm_query_batched(self, queries: Sequence[Query], options: Mapping[str, Any]) -> list[Value | Exception]:
        raise NotImplementedError

    async def final(self, answer: Value) -> None:
        raise NotImplementedError


async def measure(rounds: int, folder: Path) -> dict[str, dict[str, list[float]]]:
    """Return the values by figure and way."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    pools = {
        "cold": KernelPool(folder / "cold", spares=0, forks=False),
        "fork": KernelPool(folder / "fork", spares=0),
        "pool": KernelPool(folder / "pool", spares=1),
    }
    try:
        for pool in pools.values():
            await _close(await _ready(pool, 1))
        idle = [process for process in psutil.Process().children() if "--zygote" in process.cmdline()][:1]
        found["zygote: PSS, MB"]["fork"].append(sum(_memory(p)["Pss"] for p in _tree(idle)))
        for _ in range(rounds):
            for way in WAYS:
                await pools[way].ready()
                started = time.perf_counter()
                kernels = await _ready(pools[way], 1)
                found[READY][way].append(1000 * (time.perf_counter() - started))
                await _close(kernels)
            for way in ("cold", "fork"):
                before = {*psutil.Process().children(recursive=True)}
                started = time.perf_counter()
                kernels = await _ready(pools[way], MANY)
                found[ALL_READY][way].append(1000 * (time.perf_counter() - started))
                new = [p for p in psutil.Process().children(recursive=True) if p not in before]
                memory = [_memory(process) for process in new]
                for name in ("Pss", "Private"):
                    total = sum(each[name] for each in memory)
                    found[f"each of {MANY} with its sandbox: {name}, MB"][way].append(total / MANY)
                await _close(kernels)
    finally:
        for pool in pools.values():
            await pool.close()
    return found


async def _ready(pool: KernelPool, count: int) -> list[ChildKernel]:
    """Return kernels that have run a cell."""
    kernels = await asyncio.gather(*(pool.acquire("python", data=(), calls=_NoCalls()) for _ in range(count)))
    outputs: list[Output] = []
    await asyncio.gather(*(kernel.execute("print(1)", outputs.append) for kernel in kernels))
    assert [output.text for output in outputs] == ["1\n"] * count
    return kernels


async def _close(kernels: Sequence[ChildKernel]) -> None:
    await asyncio.gather(*(kernel.close() for kernel in kernels))


def _tree(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    return [each for process in processes for each in (process, *process.children(recursive=True))]


def _memory(process: psutil.Process) -> dict[str, float]:
    """Return MB: proportional and private, among others."""
    lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()[1:]
    values = {line.split()[0][:-1]: int(line.split()[1]) / 1000 * 1.024 for line in lines}
    return values | {"Private": values["Private_Clean"] + values["Private_Dirty"]}


def _table(found: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    rows = [f"| | {' | '.join(WAYS)} | cold / fork |", "|---|---|---|---|---|"]
    for figure, values in found.items():
        cells = [f"{median(values[way]):.3g} ({min(values[way]):.3g})" if way in values else "" for way in WAYS]
        ratio = f"{median(values['cold']) / median(values['fork']):.1f}" if {"cold", "fork"} <= values.keys() else ""
        rows.append(f"| {figure} | {' | '.join(cells)} | {ratio} |")
    return "\n".join(rows)


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(rounds, Path(folder)))
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{machine}; median (minimum) of {rounds} rounds; load {os.getloadavg()[0]:.1f} at the end.\n")
    print(_table(found))


if __name__ == "__main__":
    main()
