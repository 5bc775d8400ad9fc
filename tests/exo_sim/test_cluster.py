"""How a simulated cluster behaves while nothing goes wrong: placement, loading, queues, and who gets which request."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

from kowalski_jupyter.exo_sim import Asked, Device, Model, Rule, Simulation, Timings
from kowalski_jupyter.exo_sim.plan import GIB
from tests.exo_sim.support import MODEL, ask, asking, body_of, chat, exchange, finished, get, said, until, until_state

LONG = Rule(text="word " * 2000, tokens_per_second=200)
SHORT = Rule(text="one two three", delay=0.01)


async def active_and_queued(sim: Simulation) -> tuple[int, int]:
    found = (await sim.tell())["instances"].values()
    return sum(each["active"] for each in found), sum(each["queued"] for each in found)


def test_eight_are_worked_on_and_the_others_wait_in_order() -> None:
    async def main() -> None:
        go = asyncio.Event()

        async def answer(_: Asked) -> str:
            await go.wait()
            return "done"

        async with Simulation(1, models=[MODEL], replies=answer) as sim, AsyncExitStack() as stack:
            await sim.place(MODEL)
            for number in range(11):
                await stack.enter_async_context(asking(sim.url, chat(str(number))))
                await until(lambda number=number: came(sim, number + 1))
            assert await active_and_queued(sim) == (8, 3)
            statuses = [task["TextGeneration"]["taskStatus"] for task in await generations(sim)]
            assert Counter(statuses) == {"Running": 1, "Pending": 10}
            go.set()
            await until(lambda: finished_all(sim, 11))
            records = await sim.requests()
            assert [record.began for record in records] == sorted(record.began or 0 for record in records)
            assert records[8].began >= min(record.ended or 0 for record in records[:8])
            assert await generations(sim) == []

    asyncio.run(main())


async def came(sim: Simulation, number: int) -> bool:
    return len(await sim.requests()) == number


async def finished_all(sim: Simulation, number: int) -> bool:
    return [record.outcome for record in await sim.requests()] == ["finished"] * number


async def generations(sim: Simulation) -> list[Any]:
    tasks = await get(sim.url, "/state/tasks")
    return [task for task in tasks.values() if "TextGeneration" in task]


def test_replicas_take_turns_from_the_oldest_on_when_counts_are_right() -> None:
    async def main() -> None:
        async with Simulation(3, models=[MODEL], replies=LONG, timings=Timings(event_lag=0)) as sim:
            placed = [await sim.place(MODEL) for _ in range(3)]
            assert [each["nodes"] for each in (await sim.tell())["instances"].values()] == [[0], [1], [2]]
            async with AsyncExitStack() as stack:
                for number in range(6):
                    await stack.enter_async_context(asking(sim.urls[number % 2], chat(max_tokens=500)))
                    await until(lambda number=number: came(sim, number + 1))
                assert [record.instance for record in await sim.requests()] == placed * 2

    asyncio.run(main())


def test_a_burst_piles_onto_the_oldest_replica_since_counts_lag() -> None:
    async def main() -> None:
        async with Simulation(2, models=[MODEL], timings=Timings(event_lag=1e6)) as sim:
            oldest = await sim.place(MODEL)
            await sim.place(MODEL)
            await asyncio.gather(*(ask(sim.urls[number % 2], chat()) for number in range(6)))
            assert [record.instance for record in await sim.requests()] == [oldest] * 6

    asyncio.run(main())


def test_an_instance_goes_through_exos_states_and_requests_wait_for_it() -> None:
    async def main() -> None:
        async with Simulation(2, models=[Model(MODEL, downloaded=False)], replies=SHORT, speed=20) as sim:
            body = {"model_id": MODEL, "min_nodes": 2}
            await exchange(sim.url, "POST", "/place_instance", body)
            async with asking(sim.url, chat()) as reader:
                seen: list[str] = []
                while seen[-1:] not in (["RunnerReady"], ["RunnerRunning"]):
                    states = [next(iter(state)) for state in (await get(sim.url, "/state/runners")).values()]
                    assert len(states) == 2
                    seen += [state for state in dict.fromkeys(states) if state not in seen[-1:]]
                assert seen[0] == "RunnerIdle"
                assert seen.index("RunnerConnecting") < seen.index("RunnerLoading") < seen.index("RunnerWarmingUp")
                answer = await reader.read()
            assert finished(answer)
            assert body_of(answer).startswith(b": keep-alive\n\n: keep-alive\n\n")
            downloads = await get(sim.url, "/state/downloads")
            assert [list(entry) for entries in downloads.values() for entry in entries] == [["DownloadCompleted"]] * 2

    asyncio.run(main())


def test_layers_go_by_memory_and_models_where_there_is_most() -> None:
    async def main() -> None:
        devices = [Device(available=8 * GIB), Device(available=20 * GIB), Device(available=12 * GIB)]
        big = Model("mlx-community/Big", size=25 * GIB, layers=40)
        async with Simulation(devices, models=[MODEL, big]) as sim:
            found = await get(sim.url, f"/instance/placement?model_id={big.id}")
            shards = next(iter(found.values()))["shardAssignments"]
            assert list(shards["nodeToRunner"]) == [sim.node_ids[2], sim.node_ids[1]]
            bounds = [
                (s["startLayer"], s["endLayer"]) for each in shards["runnerToShard"].values() for s in each.values()
            ]
            assert bounds == [(0, 15), (15, 40)]
            await sim.place(big.id, nodes=2)
            free = await get(sim.url, "/state/nodeMemory")
            assert free[sim.node_ids[1]]["ramAvailable"]["inBytes"] == 20 * GIB - 25 * GIB // 2
            await exchange(sim.url, "POST", "/place_instance", {"model_id": MODEL})
            assert list((await sim.tell())["instances"].values())[1]["nodes"] == [0]

    asyncio.run(main())


def test_the_clients_going_leaves_its_task_as_cancelled_and_frees_its_slot() -> None:
    async def main() -> None:
        async with Simulation(1, models=[MODEL], replies=LONG) as sim:
            await sim.place(MODEL)
            async with asking(sim.url, chat("secret")) as reader:
                await reader.readuntil(b"word")
            await until(lambda: freed(sim))
            (task,) = await generations(sim)
            assert task["TextGeneration"]["taskStatus"] == "Cancelled"
            assert task["TextGeneration"]["taskParams"]["input"] == [{"role": "user", "content": "secret"}]
            (record,) = await sim.requests()
            assert record.outcome == "disconnected"

    async def freed(sim: Simulation) -> bool:
        return await active_and_queued(sim) == (0, 0)

    asyncio.run(main())


def test_cancelling_closes_the_stream_but_the_runner_goes_on() -> None:
    async def main() -> None:
        async with Simulation(2, models=[MODEL], replies=LONG) as sim:
            await sim.place(MODEL)
            async with asking(sim.url, chat(max_tokens=60)) as reader:
                await reader.readuntil(b"word")
                (record,) = await sim.requests()
                elsewhere = await exchange(sim.urls[1], "POST", f"/v1/cancel/{record.id}", {})
                assert elsewhere.startswith(b"HTTP/1.1 404 ")
                await exchange(sim.url, "POST", f"/v1/cancel/{record.id}", {})
                assert not finished(await reader.read())
            assert await active_and_queued(sim) == (1, 0)
            await until_state(sim, "runners", lambda found: "RunnerReady" in next(iter(found.values())))
            assert (await sim.requests())[0].outcome == "cancelled"

    asyncio.run(main())


def test_a_download_can_be_started() -> None:
    async def main() -> None:
        async with Simulation(1, models=[Model(MODEL, downloaded=False)], speed=100) as sim:
            assert (
                body_of(await exchange(sim.url, "GET", "/v1/models?status=downloaded"))
                == b'{"object":"list","data":[]}'
            )
            (entry,) = (await get(sim.url, "/state/downloads"))[sim.node_ids[0]]
            shard = entry["DownloadPending"]["shardMetadata"]
            body = {"target_node_id": sim.node_ids[0], "shard_metadata": shard}
            answer = json.loads(body_of(await exchange(sim.url, "POST", "/download/start", body)))
            assert list(answer) == ["commandId"]
            path = f"downloads/{sim.node_ids[0]}"
            await until_state(sim, path, lambda found: "DownloadCompleted" in found[0])
            assert len((await get(sim.url, "/v1/models?status=downloaded"))["data"]) == 1

    asyncio.run(main())


def test_reports_of_sensors_go_on_and_follow_the_load() -> None:
    async def main() -> None:
        async with Simulation(1, models=[MODEL], replies=LONG, speed=20) as sim:
            await sim.place(MODEL)
            (node,) = sim.node_ids
            idle = await get(sim.url, "/state")
            async with asking(sim.url, chat()) as reader:
                await reader.readuntil(b"word")
                busy = (await get(sim.url, "/state/nodeSystem"))[node]
            assert busy["gpuUsage"] > idle["nodeSystem"][node]["gpuUsage"]
            await until_state(sim, f"lastSeen/{node}", lambda seen: seen[:19] > idle["lastSeen"][node][:19])
            assert await get(sim.url, "/state/lastEventAppliedIdx") > idle["lastEventAppliedIdx"]

    asyncio.run(main())


def test_a_hundred_nodes_are_told_of() -> None:
    async def main() -> None:
        async with Simulation(3, models=[MODEL], phantom_nodes=97, catalogue=5) as sim:
            state = await get(sim.url, "/state")
            assert len(state["topology"]["nodes"]) == len(state["nodeMemory"]) == len(state["nodeSystem"]) == 100
            assert sum(len(sinks) for sinks in state["topology"]["connections"].values()) == 100 * 99
            assert len(state["downloads"][sim.node_ids[0]]) == 6
            assert len(set(state["lastSeen"].values())) > 1
            await sim.place(MODEL)
            assert said(await ask(sim.urls[2], chat())) == "Hello there."

    asyncio.run(main())
