"""A run with many sub-calls on a simulated cluster, and things that go wrong meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kowalski_jupyter.exo_sim import Device, Model, Rule, Simulation, SimulationError
from kowalski_jupyter.kernels.pack import pack
from kowalski_jupyter.rlm import events as ev
from kowalski_jupyter.service.config import Kowalski
from kowalski_jupyter.service.request import RunRequest
from kowalski_jupyter.service.service import LiveRun, Service

MODEL = "mlx-community/Small-1B-4bit"
NAMES = ("studio", "mini", "tower")


def rules(calls: int, delay: float, tokens_per_second: float | None = None) -> tuple[Rule, ...]:
    """The root's one reply, which asks so many sub-calls, and theirs: each says its own number."""
    code = f'replies = llm_query_batched([f"Number {{i}}, please" for i in range({calls})])\n'
    root = f"```repl\n{code}FINAL(sum(int(reply) for reply in replies))\n```"
    return (
        Rule(r"Number (\d+), please", r"\1", delay=delay, tokens_per_second=tokens_per_second),
        Rule("", root.replace("\\", r"\\")),
    )


@dataclass
class Ended:
    """How a run went."""

    run: LiveRun
    seconds: float

    @property
    def events(self) -> Sequence[ev.Event]:
        return self.run.log.events

    @property
    def finished(self) -> ev.RunFinished:
        last = self.events[-1]
        assert isinstance(last, ev.RunFinished)
        return last

    @property
    def value(self) -> str:
        return self.run.answer.text if self.run.answer else ""

    @property
    def notices(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, ev.Notice)]

    def of(self, kind: type[ev.Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@dataclass(frozen=True)
class Meanwhile:
    """What can be waited for in a run that goes on."""

    run: LiveRun

    async def answered(self, count: int) -> None:
        """Return when so many sub-calls have been answered."""
        if count > 0:
            await self._come(count, lambda event: isinstance(event, ev.SubcallFinished))

    async def told(self, words: str) -> None:
        """Return when the user has been told something that begins with these words."""
        await self._come(1, lambda event: isinstance(event, ev.Notice) and event.text.startswith(words))

    async def _come(self, count: int, wanted: Callable[[ev.Event], bool]) -> None:
        async for batch in self.run.log.follow():
            count -= sum(map(wanted, batch))
            if count <= 0:
                return


Disturb = Callable[[Meanwhile], Awaitable[Any]]


@dataclass(frozen=True)
class Fault:
    """What goes wrong, when so many sub-calls are answered."""

    after: int
    name: str
    settings: dict[str, Any]


def schedule(seed: int, calls: int) -> list[Fault]:
    """One to three faults of any kind at any moment, the same for a seed each time."""
    chance = random.Random(seed)  # noqa: S311 (the same each time)
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("kill_node", {"node": chance.randrange(3)}),
        ("kill_master", {}),
        ("stop_node", {"node": chance.randrange(3)}),
        ("partition", {"node": chance.randrange(3), "seconds": chance.uniform(5, 60)}),
        ("refuse_connections", {"node": chance.randrange(3)}),
        ("election", {"master_changes": chance.random() < 0.5}),
        ("kill_runner", {}),
        ("delete_instance", {}),
        ("slow_node", {"node": chance.randrange(3), "factor": chance.uniform(2, 5)}),
        ("full_node", {"node": chance.randrange(3)}),
        ("refuse_placement", {"count": 1}),
        *(
            (name, {"count": chance.randrange(1, most), "after": chance.randrange(2)})
            # The last request may get all of them; one that a runner dies of four times is given up.
            for name, most in (("zombie_stream", 12), ("empty_200", 9), ("partial_json", 9), ("error_chunk", 4))
        ),
    ]
    chosen = chance.sample(kinds, chance.randrange(1, 4))
    return sorted(
        (Fault(chance.randrange(calls), name, settings) for name, settings in chosen), key=lambda fault: fault.after
    )


async def run_through(faults: Sequence[Fault], folder: Path, calls: int) -> Ended:
    """A run on three replicas on which these faults come one after the other; a node that is down comes back."""
    async with simulation(calls, delay=0.1) as sim:
        await place_on_each(sim)

        async def disturb(run: Meanwhile) -> None:
            for fault in faults:
                await run.answered(fault.after)
                with contextlib.suppress(SimulationError):  # what it is about may be gone by an earlier one
                    await sim.inject(fault.name, **fault.settings)
            await asyncio.sleep(2.0)
            for node in range(3):
                with contextlib.suppress(SimulationError):
                    await sim.inject("node_back", node=node)

        return await run_on(sim.url, folder, disturb)


def simulation(
    calls: int = 200, *, delay: float = 0.2, speed: float = 10.0, nodes: int = 3, pace: float | None = None, **how: Any
) -> Simulation:
    """A cluster of three devices, on which nothing is placed yet."""
    devices = [Device(name=name) for name in NAMES[:nodes]]
    model = Model(MODEL, size=1 << 30, load_seconds=4.0)
    return Simulation(devices, models=[model], replies=rules(calls, delay, pace), speed=speed, **how)


async def place_on_each(sim: Simulation) -> None:
    """Load a replica on each of the three devices, all at the same time."""
    await asyncio.gather(*(sim.place(MODEL, on=[node]) for node in range(len(NAMES))))


async def hold(sim: Simulation, node: int) -> None:
    """Slow a device down, and return when it has begun a reply that now takes seconds."""

    async def begun() -> set[str]:
        records = await sim.requests()
        return {each.id for each in records if each.began and not each.ended and each.served_by == [node]}

    await sim.inject("slow_node", node=node, factor=20)
    before = await begun()
    while await begun() <= before:  # noqa: ASYNC110 (the simulation tells nobody)
        await asyncio.sleep(0.02)


async def run_on(
    url: str,
    folder: Path,
    disturb: Disturb | None = None,
    *,
    limit: float = 120.0,
    **settings: Any,
) -> Ended:
    """Ask for the sum, and let `disturb` do what it does meanwhile."""
    root = folder / "runs"
    config = Kowalski(url=url, data_root=str(root), known_devices=str(folder / "devices.json"), spares=0, **settings)
    service = Service(config, host="a test")
    disturbing: asyncio.Task[Any] | None = None
    try:
        (folder / "pack").mkdir(parents=True, exist_ok=True)
        data = (pack("limit", 5, folder / "pack"),)
        began = time.monotonic()
        live = service.start_run(
            RunRequest("What is the sum?", data, {"timeout": limit, "max_subcalls": 100_000}, False)
        )

        if disturb is not None:
            disturbing = asyncio.ensure_future(disturb(Meanwhile(live)))
        async for _ in live.log.follow():
            pass
        return Ended(live, time.monotonic() - began)
    finally:
        if disturbing is not None:
            disturbing.cancel()
            await asyncio.gather(disturbing, return_exceptions=True)
        await service.close()
