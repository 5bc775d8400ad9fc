"""Replicas of one model in simulated clusters."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from kowalski_jupyter.cluster.routing.scaling import Patience
from kowalski_jupyter.exo_sim import Device, Model, Reply, Rule, Simulation
from kowalski_jupyter.exo_sim.plan import Timings
from kowalski_jupyter.exo_sim.records import Record
from kowalski_jupyter.models.base import Message, Sampling
from kowalski_jupyter.models.openai import OpenAIModel
from tests.cluster.routing.conftest import Open
from tests.cluster.support import until

MODEL = "mlx-community/Small-1B-4bit"
GIB = 1 << 30


def most_at_once(records: list[Record]) -> dict[tuple[int, ...], int]:
    """For each replica, the most requests that it had at a time."""
    most: dict[tuple[int, ...], int] = {}
    for record in records:
        place = tuple(record.served_by)
        others = [each for each in records if tuple(each.served_by) == place and each.started <= record.started]
        now = sum((each.ended or 1e18) > record.started for each in others)
        most[place] = max(most.get(place, 0), now)
    return most


def test_replicas_are_filled_evenly_though_the_master_counts_late(open_exo_pool: Open) -> None:
    async def go() -> list[Record]:
        timings = Timings(event_lag=0.05 * 10)
        async with Simulation(
            3, models=[Model(MODEL, size=GIB)], replies=Reply("ok", delay=1.0), speed=10, timings=timings
        ) as sim:
            for node in range(3):
                await sim.place(MODEL, on=[node])
            async with open_exo_pool(sim.urls[:1], MODEL, 3) as desk:
                await desk.ask_many(48)
                return await sim.requests()

    records = asyncio.run(go())
    counts = Counter(tuple(record.served_by) for record in records)
    assert len(counts) == 3
    assert max(counts.values()) - min(counts.values()) <= 10
    # All at once would give one of them 24 or more.
    assert max(most_at_once(records).values()) <= 16


@pytest.mark.parametrize(("delay", "reserve"), [(0.1, True), (0.7, False)], ids=["short", "long"])
def test_a_replica_has_a_reserve_of_short_replies_while_many_wait(
    open_exo_pool: Open, delay: float, reserve: bool
) -> None:
    async def go() -> tuple[list[Record], list[str]]:
        async with Simulation(1, models=[Model(MODEL, size=GIB)], replies=Reply("ok", delay=delay), speed=10) as sim:
            await sim.place(MODEL)
            async with open_exo_pool([sim.url], MODEL, 1) as desk:
                await desk.ask_many(8)
                await desk.ask_many(40)
                return await sim.requests(), desk.told

    records, told = asyncio.run(go())
    most = max(most_at_once(records).values())
    assert 8 < most <= 12 if reserve else most == 8
    assert told == []  # nothing was taken for late or lost


def test_nobody_waits_for_our_reserve(open_exo_pool: Open) -> None:
    """Where others ask the same replica, what we have for it waits here."""

    async def go() -> list[Record]:
        rules = [Rule("Number", text="ok", delay=0.1), Rule("", text="ok", delay=30.0)]
        async with Simulation(1, models=[Model(MODEL, size=GIB)], replies=rules, speed=10) as sim:
            await sim.place(MODEL)
            async with open_exo_pool([sim.url], MODEL, 1) as desk:
                await desk.ask_many(8)
                stranger = OpenAIModel(sim.url, MODEL, kind="exo")
                asked = asyncio.create_task(anext(stranger.stream([Message("user", "x")], Sampling(seed=77))))
                await until(desk.router.cluster, lambda seen: any(each.others for each in seen.instances.values()))
                await desk.ask_many(40)
                asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)
                await stranger.aclose()
                return await sim.requests()

    records = asyncio.run(go())
    assert max(most_at_once(records).values()) == 8  # the stranger's too


def test_two_clusters_are_one_model(open_exo_pool: Open) -> None:
    async def go() -> tuple[int, int]:
        how = {"models": [Model(MODEL, size=GIB)], "replies": Reply("ok", delay=0.1), "speed": 10.0}
        async with Simulation(1, **how) as one, Simulation(1, first=2, **how) as two:
            await one.place(MODEL)
            await two.place(MODEL)
            async with open_exo_pool([one.url, two.url], MODEL, 2) as desk:
                assert desk.pool.width == 16
                await desk.ask_many(64)
                await one.inject("kill_node", node=0)
                assert await desk.ask_many(32) == ["ok"] * 32
                return len(await one.requests()), len(await two.requests())

    first, second = asyncio.run(go())
    assert first >= 16
    assert second >= 48


def test_a_device_on_battery_gets_small_work_only(open_exo_pool: Open) -> None:
    async def go() -> tuple[list[Record], list[Record]]:
        how = {"models": [Model(MODEL, size=GIB)], "replies": Rule(echo=True), "speed": 10.0}
        air = Device(name="air", model="MacBook Air")
        async with Simulation([air], **how) as one, Simulation([Device(name="studio")], first=2, **how) as two:
            await one.place(MODEL)
            await two.place(MODEL)
            async with open_exo_pool([one.url, two.url], MODEL, 2) as desk:
                await asyncio.gather(*(desk.ask(f"turn {n}", "root") for n in range(6)))
                await asyncio.gather(*(desk.ask("word " * 3000 + str(n)) for n in range(6)))
                large = await one.requests()
                await asyncio.gather(*(desk.ask(f"small {n}") for n in range(16)))
                return large, await one.requests()

    large, all_of_it = asyncio.run(go())
    assert large == []
    assert all_of_it
    assert all("small" in record.messages[-1]["content"] for record in all_of_it)


def test_a_replica_is_added_while_many_wait_and_taken_away_afterwards(open_exo_pool: Open) -> None:
    async def go() -> list[int]:
        counts: list[int] = []
        model = Model(MODEL, size=GIB, load_seconds=1.0)
        async with Simulation(2, models=[model], replies=Reply("ok", delay=0.3), speed=10) as sim:
            await sim.place(MODEL, on=[0])
            patience = Patience(long=0.2, empty=0.2)
            async with open_exo_pool(sim.urls[:1], MODEL, 1, adds_replicas=True, patience=patience) as desk:
                await desk.ask_many(200)
                counts.append(len((await sim.tell())["instances"]))
                assert any("it is loaded on one more device" in line for line in desk.told)
                async with asyncio.timeout(60):
                    while len((await sim.tell())["instances"]) > 1:  # noqa: ASYNC110 (nobody tells)
                        await asyncio.sleep(0.1)
                counts.append(len((await sim.tell())["instances"]))
        return counts

    assert asyncio.run(go()) == [2, 1]


def test_no_replica_is_added_unless_the_user_wants_it(open_exo_pool: Open) -> None:
    async def go() -> int:
        model = Model(MODEL, size=GIB, load_seconds=1.0)
        async with Simulation(2, models=[model], replies=Reply("ok", delay=0.1), speed=10) as sim:
            await sim.place(MODEL, on=[0])
            async with open_exo_pool(sim.urls[:1], MODEL, 1, patience=Patience(long=0.1)) as desk:
                await desk.ask_many(120)
                return len((await sim.tell())["instances"])

    assert asyncio.run(go()) == 1


def test_a_new_master_loads_as_many_replicas_as_there_were(open_exo_pool: Open) -> None:
    async def go() -> list[str]:
        model = Model(MODEL, size=GIB, load_seconds=1.0)
        async with Simulation(3, models=[model], replies=Reply("ok", delay=0.1), speed=10) as sim:
            for node in range(3):
                await sim.place(MODEL, on=[node])
            async with open_exo_pool([sim.url], MODEL, 3) as desk:
                await desk.ask_many(8)
                await sim.inject("election", master_changes=True)
                await until(desk.router.cluster, lambda seen: not seen.of_model(MODEL))
                assert await desk.ask_many(40) == ["ok"] * 40
                seen = await until(desk.router.cluster, lambda seen: len(seen.of_model(MODEL)) == 3)
                return [node for each in seen.of_model(MODEL) for node in each.instance.nodes]

    nodes = asyncio.run(go())
    assert len(set(nodes)) == 3


def test_a_model_that_is_gone_since_the_last_look_is_loaded_again(open_exo_pool: Open) -> None:
    async def go() -> list[str]:
        model = Model(MODEL, size=GIB, load_seconds=1.0)
        async with Simulation(1, models=[model], replies=Reply("ok"), speed=10) as sim:
            await sim.place(MODEL)
            async with open_exo_pool([sim.url], MODEL, 1) as desk:
                await sim.inject("delete_instance")
                assert await desk.ask_many(8) == ["ok"] * 8
                return list(desk.told)

    told = asyncio.run(go())
    assert any("it is not loaded" in line or "was unloaded" in line or "asked to load it" in line for line in told)
    assert not any("failed" in line for line in told)
