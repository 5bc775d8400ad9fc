"""Routing, failover and batches on simulated clusters.

``python -m benchmarks.routing [ratios] [faults] [schedules] [batch]``. Ratios are of the time that was taken to the one
that the replies alone take. Everything shares this machine's cores, the simulated devices too: beside each ratio stands
that of a client that knows in advance where to send what.
"""

from __future__ import annotations

import asyncio
import itertools
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import seconds_to_add
from kowalski_jupyter.api.batch import run_all
from kowalski_jupyter.api.kept import KeptBatch, Outcome
from kowalski_jupyter.api.progress import Meter
from kowalski_jupyter.cluster.cluster import Cluster
from kowalski_jupyter.cluster.routing.pool import Pool
from kowalski_jupyter.cluster.routing.router import Router
from kowalski_jupyter.exo_sim import Device, Model, Reply, Simulation
from kowalski_jupyter.models.base import Job, Message, Sampling
from kowalski_jupyter.models.openai import OpenAIModel
from kowalski_jupyter.rlm import events as ev
from kowalski_jupyter.service.socket.wire import SentAnswer
from tests.support.failing import Ended, Meanwhile, place_on_each, run_on, run_through, schedule, simulation
from tests.support.leaks import nothing_more

MODEL = "mlx-community/Small-1B-4bit"
CALLS = 240
SECONDS = 0.05
SLOTS = 8


# -- 240 sub-calls of 50 ms ------------------------------------------------------------------------------


@asynccontextmanager
async def clusters(slow: float = 1.0) -> AsyncIterator[list[Simulation]]:
    """Three devices with a replica each, as three clusters; the first is slower by that factor."""
    async with AsyncExitStack() as stack:
        sims = []
        for number in range(3):
            device = Device(name="abc"[number], slow=slow if number == 0 else 1.0)
            models = [Model(MODEL, size=1 << 30, load_seconds=1.0)]
            reply = Reply("ok", delay=SECONDS)
            sim = Simulation([device], models=models, replies=reply, first=1 + number, speed=10.0)
            sims.append(await stack.enter_async_context(sim))
            await sims[-1].place(MODEL)
        yield sims


@asynccontextmanager
async def pool_of(sims: list[Simulation]) -> AsyncIterator[Pool]:
    cluster = Cluster(Path(tempfile.mkdtemp()) / "devices.json", [sim.url for sim in sims], local="")
    router = Router(cluster)
    try:
        with cluster.looking():
            while len(cluster.snapshot.clusters) < len(sims) or len(cluster.snapshot.of_model(MODEL)) < len(sims):
                await cluster.look()
            yield Pool(router, [router.exo(key, MODEL, 8192) for key in cluster.snapshot.clusters])
    finally:
        await router.close()
        await cluster.close()


async def timed(ask: Callable[[int], Awaitable[None]], kill: Callable[[], Awaitable[Any]] | None = None) -> float:
    done = 0
    half = asyncio.Event()

    async def one(number: int) -> None:
        nonlocal done
        await ask(number)
        done += 1
        if done == CALLS // 2:
            half.set()

    async def killing() -> None:
        await half.wait()
        if kill is not None:
            await kill()

    began = time.monotonic()
    killed = asyncio.create_task(killing())
    await asyncio.gather(*(one(number) for number in range(CALLS)))
    took = time.monotonic() - began
    await killed
    return took


async def by_pool(sims: list[Simulation], *, kill: bool) -> float:
    async with pool_of(sims) as pool:

        async def ask(number: int) -> None:
            messages = [Message("user", f"Number {number}")]
            async with aclosing(pool.route(messages, Sampling(seed=number, max_tokens=9), Job())) as deltas:
                async for _ in deltas:
                    pass

        await asyncio.gather(*(ask(number) for number in range(48)))  # connections are open, replies measured
        return await timed(ask, (lambda: sims[0].inject("kill_node", node=0)) if kill else None)


async def by_plan(sims: list[Simulation], slow: float) -> float:
    """What a client takes that sends each server its exact share, no more at a time than it works on."""
    models = [OpenAIModel(sim.url, MODEL, kind="exo") for sim in sims]
    shares = [1 / slow, 1.0, 1.0]
    places = [asyncio.Semaphore(SLOTS) for _ in models]
    plan: list[int] = []
    for _ in range(CALLS):
        plan.append(min(range(3), key=lambda at: (plan.count(at) + 1) / shares[at]))
    try:

        async def ask(number: int) -> None:
            at = plan[number]
            async with (
                places[at],
                aclosing(models[at].stream([Message("user", "x")], Sampling(max_tokens=9))) as deltas,
            ):
                async for _ in deltas:
                    pass

        await asyncio.gather(*(ask(number) for number in range(48)))
        return await timed(ask)
    finally:
        for model in models:
            await model.aclose()


async def ratios(times: int = 5) -> None:
    print(f"## {CALLS} sub-calls of {SECONDS * 1000:.0f} ms over 3 devices with {SLOTS} places each\n")
    print(
        "| | ideal | taken | ratio | goal | by a plan | this machine adds a million in |\n|---|---|---|---|---|---|---|"
    )
    rate = SLOTS / SECONDS
    rows = [
        ("all alike", 1.0, False, CALLS / (3 * rate), 1.15),
        ("one three times slower", 3.0, False, CALLS / (2 * rate + rate / 3), 1.25),
        ("one killed at half-time", 1.0, True, CALLS / 2 / (3 * rate) + CALLS / 2 / (2 * rate), 1.25),
    ]
    for name, slow, kill, ideal, goal in rows:
        taken, plans, speeds = [], [], []
        for _ in range(times):
            speeds.append(seconds_to_add())
            async with clusters(slow) as sims:
                if not kill:
                    plans.append(await by_plan(sims, slow))
                taken.append(await by_pool(sims, kill=kill))
        best = min(taken)
        plan = f"{min(plans) / ideal:.2f}" if plans else ""
        median = statistics.median(taken)
        print(
            f"| {name} | {ideal:.3f} s | {median:.3f} ({best:.3f}) s | {median / ideal:.2f} ({best / ideal:.2f}) "
            f"| {goal} | {plan} | {min(speeds) * 1000:.0f} to {max(speeds) * 1000:.0f} ms |",
            flush=True,
        )
    print("\nThe median of so many, and in brackets the best.\n")


# -- faults ----------------------------------------------------------------------------------------------

FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("kill_runner", {"node": 1}),
    ("kill_node", {"node": 2}),
    ("kill_master", {}),
    ("election", {}),
    ("election", {"master_changes": True}),
    ("partition", {"node": 1}),
    ("stop_node", {"node": 1}),
    ("delete_instance", {"node": 1}),
    ("zombie_stream", {"count": 5, "after": 1}),
    ("zombie_stream", {"count": 5}),
    ("empty_200", {"count": 5}),
    ("partial_json", {"count": 5, "after": 1}),
    ("error_chunk", {"count": 4}),
    ("slow_node", {"node": 1, "factor": 3}),
    ("refuse_connections", {"node": 0}),
]


def right(ended: Ended, calls: int) -> bool:
    finished = [event.call for event in ended.of(ev.SubcallFinished) if not event.error]
    return ended.value == str(sum(range(calls))) and sorted(finished) == list(range(1, calls + 1))


@dataclass
class Repairs:
    """How a run went with a fault, in seconds.

    Attributes:
        right: whether its answer was.
        seconds: from its first sub-call to the end of its last.
        after_loss: for each request that was lost, from the loss until it was sent again.
        after_notice: the same from when its client knew, where that shows: some connections are left open.
        loading: of that, what exo took to load the model again, from the command until it was ready.
    """

    right: bool
    seconds: float
    after_loss: list[float]
    after_notice: list[float]
    loading: list[float]


async def with_fault(fault: str, settings: dict[str, Any], calls: int = 200) -> Repairs:
    struck = 0.0
    async with simulation(calls) as sim:
        await place_on_each(sim)

        async def disturb(run: Meanwhile) -> None:
            nonlocal struck
            await run.answered(40)
            struck = time.time()
            if fault:
                await sim.inject(fault, **settings)

        with tempfile.TemporaryDirectory() as folder:
            ended = await run_on(sim.url, Path(folder), disturb)
        after_loss, after_notice, loading = [], [], []
        loads = [
            (each["placed_at"], each["ready_at"])
            for each in (await sim.tell())["instances"].values()
            if each["ready_at"] and each["placed_at"] > struck
        ]
        placed, ready = min(loads, key=lambda load: load[1], default=(0.0, 0.0))
        records = await sim.requests()
        for number in range(calls):
            mine = [each for each in records if each.messages[-1]["content"] == f"Number {number}, please"]
            for lost, again in itertools.pairwise(mine):
                closed = lost.ended is not None and lost.ended < again.started + 0.05
                if lost.ended is not None and closed:
                    after_notice.append(max(0.0, again.started - lost.ended))
                    loading.append(max(0.0, min(again.started, ready) - max(lost.ended, placed)))
                told = lost.ended if closed and lost.outcome != "disconnected" else None
                after_loss.append(max(0.0, again.started - (told or lost.zombie or max(lost.started, struck))))
    started = [event.time for event in ended.of(ev.SubcallStarted)]
    finished = [event.time for event in ended.of(ev.SubcallFinished)]
    return Repairs(right(ended, calls), max(finished) - min(started), after_loss, after_notice, loading)


async def faults() -> None:
    undisturbed = (await with_fault("", {})).seconds
    print("## 200 sub-calls of 200 ms on 3 devices (ten times exo's speed), a fault after 40\n")
    print(f"Undisturbed: {undisturbed:.2f} s. The median of all requests that were lost, and in brackets the most.")
    print("'Ours' is what it took after it was noticed, without the loading of the model.\n")
    print("| fault | answer | over the undisturbed | sent again after the loss | after it was noticed | ours |")
    print("|---|---|---|---|---|---|")
    for fault, settings in FAULTS:
        it = await with_fault(fault, settings)
        name = " ".join([fault, *(f"{key}={value}" for key, value in settings.items())])
        row = [name, "right" if it.right else "WRONG", f"{it.seconds - undisturbed:+.2f} s"]
        ours = [all_of_it - load for all_of_it, load in zip(it.after_notice, it.loading, strict=True)]
        first = f"the first {min(ours):.2f} s, " if any(it.loading) else ""
        print(f"| {' | '.join([*row, of(it.after_loss), of(it.after_notice), first + of(ours)])} |", flush=True)
    print()


def of(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} ({max(seconds):.2f}) s" if seconds else ""


def schedules(count: int = 100, calls: int = 200) -> None:
    print(f"## {count} random schedules of one to three faults, {calls} sub-calls each\n")
    wrong = []
    longest = 0.0
    for seed in range(count):
        with tempfile.TemporaryDirectory() as folder:
            ended = None
            with nothing_more():
                ended = asyncio.run(run_through(schedule(seed, calls), Path(folder), calls))
        longest = max(longest, ended.seconds)
        if not right(ended, calls):
            wrong.append(seed)
            print(f"- seed {seed}: {ended.finished.state} {ended.finished.error} {schedule(seed, calls)}", flush=True)
    print(f"{count - len(wrong)} of {count} right, nothing left behind, the longest took {longest:.1f} s.\n")


# -- batch -----------------------------------------------------------------------------------------------


def batch(count: int = 1000) -> None:
    """What queueing costs: 1000 tasks that take no time, each kept in the file."""
    document = {"id": "r-0", "state": "done", "answer": {"text": "yes"}, "turns": [{"text": "x" * 4000}]}
    outcome = Outcome(SentAnswer("json", b'"yes"'), None, document)
    kept = KeptBatch(None, [str(number) for number in range(count)])
    meter = Meter(count)

    @asynccontextmanager
    async def way() -> AsyncIterator[None]:
        yield

    def job(number: int) -> Callable[[None], Awaitable[bool]]:
        async def do(_: None) -> bool:
            kept.began(number, f"r-{number}")
            await asyncio.sleep(0)
            return not kept.keep(number, outcome)

        return do

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    run_all([job(n) for n in range(count)], width=50, meter=meter, on_progress=lambda _: None, open_way=way)
    took = time.monotonic() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"## A batch of {count} tasks\n\nQueueing: {count / took:.0f} tasks/s; memory grew by {grown:.1f} MB.\n")


def main() -> None:
    what = sys.argv[1:] or ["ratios", "faults", "batch"]
    if "ratios" in what:
        asyncio.run(ratios())
    if "faults" in what:
        asyncio.run(faults())
    if "schedules" in what:
        schedules()
    if "batch" in what:
        batch()


if __name__ == "__main__":
    main()
