"""How long child kernels take and what they cost, beside the same kernels started by jupyter_client.

``python -m benchmarks.kernels [ROUNDS]`` measures every language that has a kernel here, all ways in turn, round by
round, and prints tables. From the request to the first output counts: a plain kernel has no data and no functions of a
run to load, and none of ours is without a sandbox.
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
from types import SimpleNamespace
from typing import cast

import psutil

from benchmarks.plain_kernel import PlainKernel
from kowalski_jupyter.kernels.base import Calls, Output
from kowalski_jupyter.kernels.child import ChildKernel
from kowalski_jupyter.kernels.installed import find
from kowalski_jupyter.kernels.languages import LANGUAGES
from kowalski_jupyter.kernels.pool import KernelPool

Values = dict[str, dict[str, list[float]]]
"""By row and way."""

WAYS = ("plain", "cold", "fork", "first", "spare")
HELLO = {
    "python": "print(6 * 7)",
    "rust": "6 * 7",  # what is printed may come after the end of the cell
    "java": "System.out.println(6 * 7)",
    "javascript": "6 * 7",  # as well
    "bash": "echo $((6 * 7))",
}
FORKED = ("python", "bash")
"""Whose kernels are in Python, and are forked from the zygote."""
TARGETS = {
    ("python", "spare"): 20.0,
    ("python", "fork"): 250.0,
    ("java", "cold"): 2000.0,
    ("javascript", "cold"): 700.0,
    ("bash", "first"): 50.0,
    ("bash", "spare"): 50.0,
}
"""Milliseconds from a request to the first output."""
MOST_OVER_BARE, MOST_IDLE = 10.0, 120.0
"""Milliseconds of a cell of 100 lines over the bare kernel; MB of the idle pool."""
MANY = 8
HUNDRED_LINES = "\n".join(f"value_{n} = sum(range({n}))" for n in range(99)) + "\nprint(value_98)"
IDLE_POOL = "python, the whole idle pool"
_SETTLING = 1.0
"""Seconds after a kernel's start until its memory is looked at."""
_NO_CALLS = cast("Calls", SimpleNamespace(checks_answer=False, starts_runs=False))
"""The run of a cell that asks for nothing."""


async def measure(rounds: int, folder: Path) -> tuple[Values, Values, Values]:
    """Return times to the first output, times of a cell in a kernel that runs, and memory."""
    starts, cells, memory = (cast("Values", defaultdict(lambda: defaultdict(list))) for _ in range(3))
    languages = [name for name in HELLO if name == "python" or (find(name, "") and not LANGUAGES[name].problem())]
    for language in languages:  # before anything else runs that could be counted in
        await _memory_of(language, folder, memory)
    pools = {
        "cold": KernelPool(folder / "cold", spares=0, forks=False),
        "fork": KernelPool(folder / "fork", spares=0),
        "spare": KernelPool(folder / "spare", spares=1),
    }
    try:
        for language in languages:
            for pool in pools.values():  # what is done once on a machine, or once for a service
                await _close(await _asked(pool, language, 1))
        for _ in range(rounds):
            for language in languages:
                await _round(language, pools, starts, cells)
                if language in FORKED and language != "python":
                    starts[language]["first"].append(await _first_use(language, folder / "first"))
            await _many(pools, starts, memory)
    finally:
        for pool in pools.values():
            await pool.close()
    return starts, cells, memory


async def _round(language: str, pools: Mapping[str, KernelPool], starts: Values, cells: Values) -> None:
    started = time.perf_counter()
    plain = await PlainKernel.start(_kernelspec(language))
    _, said = await plain.execute(HELLO[language])
    starts[language]["plain"].append(1000 * (time.perf_counter() - started))
    assert "42" in said, said
    cells[f"{language}, a cell"]["plain"].append(1000 * (await plain.execute(HELLO[language]))[0])
    if language == "python":
        cells["python, 100 lines"]["plain"].append(1000 * (await plain.execute(HUNDRED_LINES))[0])
    await plain.close()
    for way, pool in pools.items():
        if way == "fork" and language not in FORKED:
            continue
        if way == "spare":
            await pool.ready(language)
        started = time.perf_counter()
        kernels = await _asked(pool, language, 1)
        starts[language][way].append(1000 * (time.perf_counter() - started))
        cells[f"{language}, a cell"][way].append(await _cell(kernels[0], HELLO[language]))
        if language == "python":
            cells["python, 100 lines"][way].append(await _cell(kernels[0], HUNDRED_LINES))
        await _close(kernels)


async def _first_use(language: str, folder: Path) -> float:
    """Return the milliseconds of a language's first kernel where the pool's own spares, which are Python's, wait."""
    pool = KernelPool(folder, spares=1)
    try:
        await pool.ready()
        started = time.perf_counter()
        await _asked(pool, language, 1)
        return 1000 * (time.perf_counter() - started)
    finally:
        await pool.close()


async def _many(pools: Mapping[str, KernelPool], starts: Values, memory: Values) -> None:
    """Ask for many Python kernels at once."""
    for way in ("cold", "fork"):
        before = {*psutil.Process().children(recursive=True)}
        started = time.perf_counter()
        kernels = await _asked(pools[way], "python", MANY)
        starts[f"python, the last of {MANY} at once"][way].append(1000 * (time.perf_counter() - started))
        new = [process for process in psutil.Process().children(recursive=True) if process not in before]
        memory[f"python, each of {MANY}"][way].append(_pss(new) / MANY)
        await _close(kernels)


async def _memory_of(language: str, folder: Path, memory: Values) -> None:
    """Look at a spare that waits and at a kernel that has run a cell, each in a pool of its own."""
    for state, spares in (("idle", 1), ("used", 0)):
        before = {*psutil.Process().children(recursive=True)}
        pool = KernelPool(folder / f"{language}-{state}", spares=spares)
        try:
            if spares:
                await pool.ready(language)
            else:
                await _asked(pool, language, 1)
            await asyncio.sleep(_SETTLING)
            new = [process for process in psutil.Process().children(recursive=True) if process not in before]
            own = [process for process in new if not _is_zygote(process)]
            memory[f"{language}, {state}"]["spare"].append(_pss(own))
            if language == "python" and spares:
                memory[IDLE_POOL]["spare"].append(_pss(new))
        finally:
            await pool.close()


def _is_zygote(process: psutil.Process) -> bool:
    """Return whether a process serves all kernels: what is forked from it bears its command line and another name."""
    return "--zygote" in process.cmdline() and not process.name().startswith("kernel")


async def _asked(pool: KernelPool, language: str, count: int) -> list[ChildKernel]:
    """Return kernels that have run a cell."""
    kernels = await asyncio.gather(*(pool.acquire(language, data=(), calls=_NO_CALLS) for _ in range(count)))
    await asyncio.gather(*(_cell(kernel, HELLO[language]) for kernel in kernels))
    return kernels


async def _cell(kernel: ChildKernel, code: str) -> float:
    """Run a cell and return its milliseconds."""
    outputs: list[Output] = []
    started = time.perf_counter()
    result = await kernel.execute(code, outputs.append)
    seconds = time.perf_counter() - started
    assert result.status == "ok", (result, outputs)
    assert "".join(output.text for output in outputs).strip() in {"42", "4753"}, outputs
    return 1000 * seconds


async def _close(kernels: Sequence[ChildKernel]) -> None:
    await asyncio.gather(*(kernel.close() for kernel in kernels))


def _kernelspec(language: str) -> str:
    installed = None if language == "python" else find(language, "")
    return installed.name if installed else "python3"


# -- memory --------------------------------------------------------------------------------------------


def _pss(processes: Sequence[psutil.Process]) -> float:
    """Return MB; what is shared counts by its share."""
    total = 0.0
    for process in processes:
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        total += sum(int(line.split()[1]) * 1.024 / 1000 for line in lines if line.startswith("Pss:"))
    return total


# -- tables --------------------------------------------------------------------------------------------


def _table(title: str, found: Values, verdicts: Mapping[str, str] | None = None) -> str:
    verdicts = verdicts or {}
    ways = [way for way in WAYS if any(way in values for values in found.values())]
    head = [title, *ways, *(["target"] if verdicts else [])]
    rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row, values in found.items():
        cells = [f"{median(values[way]):.3g} ({min(values[way]):.3g})" if way in values else "" for way in ways]
        rows.append(f"| {' | '.join([row, *cells, *([verdicts.get(row, '')] if verdicts else [])])} |")
    return "\n".join(rows)


def _start_verdicts(starts: Values) -> dict[str, str]:
    found: dict[str, list[str]] = defaultdict(list)
    for (language, way), target in TARGETS.items():
        if values := starts.get(language, {}).get(way):
            found[language].append(f"{way} ≤ {target:g}: {_verdict(median(values), min(values), target)}")
    return {language: "; ".join(said) for language, said in found.items()}


def _verdict(middle: float, least: float, target: float) -> str:
    if middle <= target:
        return "met"
    return "minimum meets it" if least <= target else "**missed**"


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    with tempfile.TemporaryDirectory() as folder:
        starts, cells, memory = asyncio.run(measure(rounds, Path(folder)))
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{machine}; median (minimum) of {rounds} rounds; load {os.getloadavg()[0]:.1f} at the end.\n")
    print(_table("asked to first output, ms", starts, _start_verdicts(starts)))
    hundred = cells["python, 100 lines"]
    over, least = (how(hundred["spare"]) - how(hundred["plain"]) for how in (median, min))
    said = f"≤ {MOST_OVER_BARE:g} over plain: {over:.1f}, {_verdict(over, least, MOST_OVER_BARE)}"
    print("\n" + _table("in a kernel that runs, ms", cells, {"python, 100 lines": said}))
    (whole,) = memory[IDLE_POOL]["spare"]
    said = f"≤ {MOST_IDLE:g}: {_verdict(whole, whole, MOST_IDLE)}"
    print("\n" + _table("memory (PSS), MB", memory, {IDLE_POOL: said}))


if __name__ == "__main__":
    main()
