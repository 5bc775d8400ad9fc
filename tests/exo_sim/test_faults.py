"""What goes wrong with exo, as a client sees it: every row of what was measured on the real one."""

from __future__ import annotations

import asyncio
import contextlib
import json

import psutil
import pytest

from kowalski_jupyter.exo_sim import Rule, Simulation, SimulationError, Timings
from tests.exo_sim.support import (
    MODEL,
    ask,
    asking,
    body_of,
    chat,
    exchange,
    finished,
    get,
    said,
    until,
    until_state,
)

LONG = Rule(text="word " * 2000, tokens_per_second=200)
KEEP_ALIVE = b": keep-alive\n\n"


async def tokens(sim: Simulation, count: int = 3, number: int = 0) -> None:
    """Wait until a request has so many tokens."""

    async def enough() -> bool:
        records = await sim.requests()
        return len(records) > number and records[number].tokens >= count

    await until(enough)


async def keep_alives(reader: asyncio.StreamReader, count: int = 3) -> bytes:
    """Read on until so many keep-alives came in a row; return all that was read."""
    read = b""
    for _ in range(count):
        read += await reader.readuntil(KEEP_ALIVE)
    return read


async def until_zombie(reader: asyncio.StreamReader) -> None:
    """Read on, past what was on its way, until nothing comes but keep-alives."""
    async with asyncio.timeout(60):
        while b"data: " in await keep_alives(reader):
            pass


def test_a_killed_member_is_noticed_late_and_its_requests_end_without_a_word() -> None:
    async def main() -> None:
        async with Simulation(3, models=[MODEL], replies=LONG, speed=100) as sim:
            instance = await sim.place(MODEL, on=[1, 2])
            pids = (await sim.tell())["pids"]
            async with asking(sim.url, chat()) as reader:
                await tokens(sim)
                await sim.inject("kill_node", node=1)
                assert not psutil.pid_exists(pids[1])
                assert sim.node_ids[1] in (await get(sim.url, "/state/topology"))["nodes"]
                gone = await until_state(sim, "topology", lambda found: sim.node_ids[1] not in found["nodes"])
                assert list(gone["connections"]) == [sim.node_ids[0], sim.node_ids[2]]
                assert list(await get(sim.url, "/state/instances")) == [instance]
                await until_state(sim, "instances", lambda found: not found)
                answer = await reader.read()
            assert answer.endswith(b"0\r\n\r\n")
            assert not finished(answer)
            assert b"[DONE]" not in answer
            assert answer.count(KEEP_ALIVE) >= 4
            assert sim.node_ids[1] in await get(sim.url, "/state/nodeIdentities")
            assert (await sim.requests())[0].outcome == "cut"
            with pytest.raises(ConnectionRefusedError):
                await get(sim.urls[1], "/node_id")

    asyncio.run(main())


def test_a_dead_replica_is_still_chosen() -> None:
    async def main() -> None:
        async with Simulation(3, models=[MODEL], speed=20, timings=Timings(event_lag=0, election=0.1)) as sim:
            dead = await sim.place(MODEL, on=[1])
            alive = await sim.place(MODEL, on=[2])
            await sim.inject("kill_node", node=1)
            async with asking(sim.url, chat("one")) as reader:
                await keep_alives(reader)
                assert said(await ask(sim.url, chat("two"))) == "two"
                assert not finished(await reader.read())
            assert [(r.instance, r.outcome) for r in await sim.requests()] == [(dead, "cut"), (alive, "finished")]

    asyncio.run(main())


def test_a_killed_master_takes_all_instances_along_and_leaves_zombies() -> None:
    async def main() -> None:
        async with Simulation(3, models=[MODEL], replies=LONG, speed=20) as sim:
            await sim.place(MODEL, on=[2])
            ids = sim.node_ids
            async with asking(sim.urls[1], chat()) as reader, asking(sim.urls[2], chat(stream=False)) as whole:
                await tokens(sim)
                before = await get(sim.urls[1], "/state/lastEventAppliedIdx")
                assert await sim.inject("kill_master") == 0
                async with asking(sim.urls[2], chat()) as during:
                    await until_state(sim, "instances", lambda found: not found, node=1)
                    assert await get(sim.urls[1], "/state/lastEventAppliedIdx") < before
                    assert (await get(sim.urls[2], "/state/topology"))["nodes"] == ids[1:]
                    assert list(await get(sim.urls[2], "/state/nodeIdentities")) == ids[1:]
                    assert await get(sim.urls[2], "/state/tasks") == {}
                    assert b"data: " not in await keep_alives(during)
                    await until_zombie(reader)
                    assert not whole.at_eof()
            assert (await sim.tell())["master"] == 1
            assert (await sim.tell())["session"] == 1
            assert all(r.zombie for r in await sim.requests())
            await until_state(sim, "topology", lambda found: found["connections"], node=1)
            assert (await ask(sim.urls[1], chat())).startswith(b"HTTP/1.1 404 ")

    asyncio.run(main())


def test_who_comes_and_goes_during_an_election_does_not_save_the_session() -> None:
    async def main() -> None:
        async with Simulation(3, models=[MODEL], speed=10) as sim:
            await sim.place(MODEL, on=[1])
            await sim.inject("kill_master")
            await sim.inject("kill_node", node=2)
            await sim.inject("node_back", node=0)
            await until_state(sim, "instances", lambda found: not found, node=1)
            assert (await sim.tell())["master"] == 1
            assert set((await get(sim.url, "/state/topology"))["nodes"]) == {sim.node_ids[0], sim.node_ids[1]}

    asyncio.run(main())


def test_a_placement_that_is_waited_for_fails_with_its_instance() -> None:
    async def main() -> None:
        async with Simulation(2, models=[MODEL], speed=1) as sim:
            placing = asyncio.ensure_future(sim.place(MODEL))
            await until_state(sim, "instances", bool)
            await sim.inject("delete_instance")
            with pytest.raises(SimulationError, match="was deleted before it was ready"):
                await placing

    asyncio.run(main())


def test_commands_wait_for_an_election_without_a_byte_and_then_go_on_together() -> None:
    async def main() -> None:
        async with Simulation(2, models=[MODEL], speed=10) as sim:
            await sim.place(MODEL)
            await sim.inject("election")
            async with asking(sim.url, chat()) as one, asking(sim.urls[1], chat()) as other:
                await until(lambda: counted(sim, 2))
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(one.read(1), 0.05)
                assert await get(sim.url, "/state/instances")
                assert finished(await one.read())
                assert finished(await other.read())

    asyncio.run(main())


async def counted(sim: Simulation, number: int) -> bool:
    return len(await sim.requests()) == number


def test_a_partition_lets_no_byte_through_and_leaves_zombies() -> None:
    async def silence(reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(TimeoutError):
            while True:  # what was on its way comes, and then nothing
                await asyncio.wait_for(reader.read(1 << 16), 1)

    async def main() -> None:
        async with Simulation(3, models=[MODEL], replies=LONG, speed=50) as sim:
            instance = await sim.place(MODEL, on=[0])
            async with asking(sim.urls[2], chat(max_tokens=50)) as reader:
                await tokens(sim)
                await sim.inject("partition", node=2)
                await silence(reader)
                await until_state(sim, "topology", lambda found: sim.node_ids[2] not in found["nodes"])
                await sim.inject("heal", node=2)
                await until_zombie(reader)
            await until_state(sim, "topology", lambda found: sim.node_ids[2] in found["nodes"], node=2)
            assert list(await get(sim.urls[2], "/state/instances")) == [instance]
            assert (await sim.requests())[0].zombie

    asyncio.run(main())


def test_a_partitioned_master_is_replaced_and_comes_back_as_a_member() -> None:
    async def main() -> None:
        async with Simulation(2, models=[MODEL], speed=50) as sim:
            await sim.place(MODEL)
            await sim.inject("partition", node=0, seconds=20)
            await until_state(sim, "instances", lambda found: not found, node=1)
            await until_state(sim, "topology", lambda found: len(found["nodes"]) == 2, node=1)
            assert (await sim.tell())["master"] == 1
            assert await get(sim.url, "/node_id") == sim.node_ids[0]

    asyncio.run(main())


def test_a_killed_runner_comes_back_four_times() -> None:
    async def main() -> None:
        async with Simulation(1, models=[MODEL], replies=LONG, speed=200) as sim:
            instance = await sim.place(MODEL)
            for _ in range(5):
                async with asking(sim.url, chat()) as streamed, asking(sim.url, chat(stream=False)) as whole:
                    await until(lambda: working(sim, instance))
                    await sim.inject("kill_runner", instance=instance)
                    answer = body_of(await streamed.read())
                    assert answer.endswith(b'"code":500}}\n\ndata: [DONE]\n\n')
                    assert body_of(await whole.read()) == b""
            assert await get(sim.url, "/state/instances") == {}
            assert (await ask(sim.url, chat())).startswith(b"HTTP/1.1 404 ")

    async def working(sim: Simulation, instance: str) -> bool:
        return bool((await sim.tell())["instances"][instance]["active"] == 2)

    asyncio.run(main())


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault", ["empty_200", "partial_json", "error_chunk"])
def test_faults_of_requests(fault: str, stream: bool) -> None:
    async def main() -> bytes:
        async with Simulation(2, models=[MODEL], replies="One two three four.") as sim:
            await sim.place(MODEL)
            await sim.inject(fault, after=2, node=1)
            assert said(await ask(sim.url, chat(stream=stream))) == "One two three four."
            answer = await ask(sim.urls[1], chat(stream=stream))
            assert said(await ask(sim.urls[1], chat(stream=stream))) == "One two three four."
            assert [record.fault for record in await sim.requests()] == [None, fault, None]
            return answer

    answer = asyncio.run(main())
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert not finished(answer)
    if fault == "partial_json" or stream:
        assert said(answer) == "One two"
    else:
        assert body_of(answer) == b""
    assert (b"[DONE]" in answer) == (fault == "error_chunk" and stream)


def test_a_zombie_stream() -> None:
    async def main() -> None:
        async with Simulation(1, models=[MODEL], replies="One two three four.") as sim:
            await sim.place(MODEL)
            await sim.inject("zombie_stream", after=2)
            async with asking(sim.url, chat()) as reader:
                assert b'" two"' in await reader.readuntil(b'" two"}}]}\n\n')
                assert b"data: " not in await keep_alives(reader)
                assert said(await ask(sim.url, chat())) == "One two three four."
            await until(lambda: over(sim))
            first = (await sim.requests())[0]
            assert first.zombie
            assert (first.outcome, first.text) == ("disconnected", "One two")

    async def over(sim: Simulation) -> bool:
        return (await sim.requests())[0].outcome is not None

    asyncio.run(main())


def test_a_refused_placement_is_answered_as_any_other() -> None:
    async def main() -> None:
        async with Simulation(1, models=[MODEL]) as sim:
            await sim.inject("refuse_placement", count=2)
            preview = (await get(sim.url, f"/instance/previews?model_id={MODEL}"))["previews"][0]["instance"]
            for path, body in (("/place_instance", {"model_id": MODEL}), ("/instance", {"instance": preview})):
                answer = body_of(await exchange(sim.url, "POST", path, body))
                assert json.loads(answer)["message"] == "Command received."
                assert await get(sim.url, "/state/instances") == {}
            await exchange(sim.url, "POST", "/instance", {"instance": preview})
            assert len(await get(sim.url, "/state/instances")) == 1

    asyncio.run(main())


def test_a_full_node_is_not_chosen() -> None:
    async def main() -> None:
        async with Simulation(2, models=[MODEL]) as sim:
            await sim.inject("full_node", node=0)
            await exchange(sim.url, "POST", "/place_instance", {"model_id": MODEL})
            assert [each["nodes"] for each in (await sim.tell())["instances"].values()] == [[1]]
            await sim.inject("full_node", node=1)
            answer = await exchange(sim.url, "GET", f"/instance/placement?model_id={MODEL}")
            assert answer.startswith(b"HTTP/1.1 400 ")
            with pytest.raises(SimulationError, match="No cycles found with sufficient memory"):
                await sim.place(MODEL)

    asyncio.run(main())


def test_a_slow_node_takes_as_many_times_as_long() -> None:
    async def main() -> float:
        async with Simulation(1, models=[MODEL], replies=Rule(text="a b c", tokens_per_second=50)) as sim:
            await sim.place(MODEL)
            await sim.inject("slow_node", node=0, factor=4)
            answer = body_of(await ask(sim.url, chat()))
            line = next(line for line in answer.split(b"\n") if line.startswith(b": generation_stats"))
            return float(json.loads(line.removeprefix(b": generation_stats "))["generation_tps"])

    assert asyncio.run(main()) == pytest.approx(50 / 4)


def test_connections_are_refused_while_open_ones_stay() -> None:
    async def main() -> None:
        async with Simulation(1, models=[MODEL], replies=Rule(text="word " * 100, tokens_per_second=200)) as sim:
            await sim.place(MODEL)
            async with asking(sim.url, chat()) as reader:
                await tokens(sim)
                await sim.inject("refuse_connections", node=0)
                await until(lambda: refused(sim))
                assert finished(await reader.read())
            await sim.inject("accept_connections", node=0)
            await until(lambda: taken(sim))
            assert await get(sim.url, "/node_id") == sim.node_ids[0]

    async def refused(sim: Simulation) -> bool:
        try:
            await get(sim.url, "/node_id")
        except ConnectionError:  # reset, if it was just being taken
            return True
        return False

    async def taken(sim: Simulation) -> bool:
        return not await refused(sim)

    asyncio.run(main())


def test_a_node_that_comes_back_has_another_id_beside_its_old_self() -> None:
    async def main() -> None:
        async with Simulation(2, models=[MODEL], speed=50) as sim:
            old = sim.node_ids[1]
            await sim.inject("kill_node", node=1)
            await sim.inject("node_back", node=1)
            new = sim.node_ids[1]
            assert new != old
            assert await get(sim.urls[1], "/node_id") == new
            assert {old, new} <= set((await get(sim.url, "/state/topology"))["nodes"])
            await until_state(sim, "topology", lambda found: old not in found["nodes"])
            await sim.place(MODEL, on=[1])
            assert said(await ask(sim.urls[1], chat())) == "Hello there."

    asyncio.run(main())


def test_a_node_may_join_later_and_is_connected_later_still() -> None:
    async def main() -> None:
        async with Simulation(1, models=[MODEL], speed=5) as sim:
            assert await sim.inject("add_node", name="late") == 1
            assert await get(sim.urls[1], "/node_id") == sim.node_ids[1]
            assert (await get(sim.url, "/state/topology"))["connections"] == {}
            found = await until_state(sim, "topology", lambda found: found["connections"])
            edge = found["connections"][sim.node_ids[0]][sim.node_ids[1]][0]["sinkMultiaddr"]
            assert f"http://{edge['ip_address']}:{edge['port']}" == sim.urls[1]
            assert (await get(sim.url, "/state/nodeIdentities"))[sim.node_ids[1]]["friendlyName"] == "late"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("fault", "settings", "words"),
    [
        ("earthquake", {}, "There is no fault 'earthquake'. There are: kill_node, kill_master"),
        ("kill_node", {"node": 7}, "There is no node 7. There are 0 to 0."),
        ("kill_node", {}, "missing a required argument: 'node'. kill_node node: Kill a node's process"),
        ("kill_runner", {}, "There is no such instance now."),
        ("node_back", {"node": 0}, "Node 0 is up."),
    ],
)
def test_what_cannot_happen_is_said(fault: str, settings: dict[str, int], words: str) -> None:
    async def main() -> None:
        async with Simulation(1, models=[MODEL]) as sim:
            with pytest.raises(SimulationError, match=words.replace("(", r"\(")):
                await sim.inject(fault, **settings)

    asyncio.run(main())
