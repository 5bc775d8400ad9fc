"""The simulation as a tool: where replies come from, how it is told from outside, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys

import psutil
import pytest

from kowalski_jupyter.exo_sim import Asked, Device, Forward, Reply, Rule, Simulation, SimulationError
from tests.exo_sim.support import MODEL, ask, body_of, chat, exchange, finished, get, said


@pytest.mark.parametrize("stream", [True, False])
def test_rules_are_tried_in_order(stream: bool) -> None:
    async def main() -> list[str]:
        rules = [
            Rule(r"times (\d+)", text=r"It was \1\\."),
            Rule("only", text="other", model="mlx-community/Other"),
            Rule("say", echo=True),
        ]
        async with Simulation(1, models=[MODEL], replies=rules) as sim:
            await sim.place(MODEL)
            questions = ("times 7", "only say", "something else")
            return [said(await ask(sim.url, chat(question, stream=stream))) for question in questions]

    assert asyncio.run(main()) == ["It was 7\\.", "only say", "No rule of the simulation matches this message."]


def test_a_function_makes_the_replies_now_or_later() -> None:
    async def main() -> None:
        seen: list[Asked] = []
        go = asyncio.Event()

        async def answer(asked: Asked) -> Reply | str:
            seen.append(asked)
            if asked.payload.get("seed") == 1:
                await go.wait()
            if asked.payload.get("seed") == 2:
                raise ValueError("no idea")
            return "late" if asked.payload.get("seed") == 1 else Reply("It is so.", finish="length")

        async with Simulation(1, models=[MODEL], replies=answer) as sim:
            await sim.place(MODEL)
            late = asyncio.ensure_future(ask(sim.url, chat(seed=1)))
            soon = await ask(sim.url, chat())
            assert said(soon) == "It is so."
            assert b'"finish_reason":"length"' in soon
            assert not late.done()
            go.set()
            assert said(await late) == "late"
            assert said(await ask(sim.url, chat(seed=2))).startswith("The replies of the simulation failed: ValueError")
            assert {asked.id for asked in seen} == {record.id for record in await sim.requests()}

    asyncio.run(main())


def test_a_rule_that_cannot_be_carried_out_says_so() -> None:
    async def main() -> bytes:
        async with Simulation(1, models=[MODEL], replies=Rule("(a)?", text=r"\7")) as sim:
            await sim.place(MODEL)
            return await ask(sim.url, chat())

    assert b'{"error":{"message":"The simulation failed: ' in asyncio.run(main())
    with pytest.raises(re.error):
        Simulation(replies=Rule("("))


def test_replies_may_come_from_another_server() -> None:
    async def main() -> None:
        async with (
            Simulation(1, models=["there"], replies=Rule("(.*)", text=r"forwarded: \1")) as there,
            Simulation(1, models=[MODEL], first=50, replies=Forward(f"{there.url}/v1", model="there")) as here,
        ):
            await there.place("there")
            await here.place(MODEL)
            assert said(await ask(here.url, chat("hello"))) == "forwarded: hello"
            await there.inject("delete_instance")
            assert said(await ask(here.url, chat("hello"))).startswith(
                "The server that the simulation forwards to failed"
            )
            await there.inject("kill_node", node=0)
            assert said(await ask(here.url, chat("hello"))).startswith(
                "The server that the simulation forwards to failed"
            )

    asyncio.run(main())


def test_what_came_is_remembered() -> None:
    async def main() -> None:
        async with Simulation(2, models=[MODEL], replies="One two.") as sim:
            instance = await sim.place(MODEL, on=[1])
            await ask(sim.url, chat("first", seed=3, max_tokens=2))
            await ask(sim.urls[1], chat("second", model="nope", stream=False))
            first, second = await sim.requests()
            assert (first.node, first.instance, first.served_by) == (0, instance, [1])
            assert (first.outcome, first.text, first.parameters) == (
                "finished",
                "One two",
                {"seed": 3, "max_tokens": 2},
            )
            assert first.messages == [{"role": "user", "content": "first"}]
            assert first.began is not None
            assert first.ended is not None
            assert first.started <= first.began <= first.ended
            assert (second.node, second.outcome, second.status, second.stream) == (1, "refused", 404, False)
            assert await sim.requests(since=1) == [second]

    asyncio.run(main())


def test_the_control_url_does_what_python_does() -> None:
    async def main() -> None:
        async with Simulation(2, models=[MODEL]) as sim:
            control = sim.control_url.removesuffix("/_sim")
            placed = await exchange(control, "POST", "/_sim/place", {"model": MODEL, "on": [0]})
            assert json.loads(body_of(placed)) in await get(sim.url, "/state/instances")
            await exchange(control, "POST", "/_sim/inject", {"fault": "kill_node", "node": 1})
            told = await get(control, "/_sim")
            assert told == await sim.tell()
            assert told["up"] == [True, False]
            await ask(sim.url, chat())
            assert len(await get(control, "/_sim/requests")) == 1
            wrong = await exchange(control, "POST", "/_sim/inject", {"fault": "kill_node", "node": "x"})
            assert wrong.startswith(b"HTTP/1.1 400 ")
            assert json.loads(body_of(wrong)) == {"error": "There is no node x. There are 0 to 1."}
            for body in (b"nonsense", b"[]"):
                assert (await exchange(control, "POST", "/_sim/inject", body)).startswith(b"HTTP/1.1 400 ")

    asyncio.run(main())


def test_two_simulations_live_side_by_side_and_one_cannot_take_the_others_port() -> None:
    async def main() -> None:
        async with Simulation(2, models=[MODEL]) as one, Simulation(2, models=[MODEL]) as other:
            assert not set(one.urls) & set(other.urls)
            port = int(one.url.rpartition(":")[2])
            with pytest.raises(SimulationError, match=rf"cannot listen on 127\.0\.0\.1:{port}"):
                async with Simulation(2, models=[MODEL], port=port):
                    pass
            async with Simulation(2, models=[MODEL], port=port, first=3) as third:
                assert [url.rpartition(":")[0] for url in third.urls] == ["http://127.0.0.3", "http://127.0.0.4"]

    asyncio.run(main())


def test_devices_tell_what_they_are() -> None:
    async def main() -> None:
        devices = [Device("studio", slow=3), Device("box", mac=False)]
        async with Simulation(devices, models=[MODEL]) as sim:
            studio, box = sim.node_ids
            known = await get(sim.url, "/state/nodeIdentities")
            assert known[studio]["chipId"] == "Apple M3 Ultra"
            assert known[box] == {
                "modelId": "Unknown Model",
                "chipId": "Unknown Chip",
                "friendlyName": "box",
                "osVersion": "Linux",
                "osBuildVersion": "Unknown",
            }
            assert list(await get(sim.url, "/state/nodeSystem")) == [studio]
            assert (await get(sim.url, "/state/nodeBackends"))[box] == ["MlxCpu"]

    asyncio.run(main())


def test_a_simulation_that_has_ended_says_so() -> None:
    async def main() -> None:
        async with Simulation(1, models=[MODEL]) as sim:
            pass
        with pytest.raises(SimulationError, match="not running"):
            await sim.tell()

    asyncio.run(main())


def test_a_long_reply_with_many_requests_loses_no_token() -> None:
    async def main() -> None:
        text = "".join(f"{number}, " for number in range(800))
        rule = Rule(text=text, tokens_per_second=5000)
        async with Simulation(3, models=[MODEL], replies=rule) as sim:
            for node in range(3):
                await sim.place(MODEL, on=[node])
            answers = await asyncio.gather(*(ask(sim.urls[number % 3], chat()) for number in range(30)))
            assert {said(answer) for answer in answers} == {text}
            assert all(finished(answer) for answer in answers)

    asyncio.run(main())


def test_all_processes_end_with_the_one_that_began_them() -> None:
    script = """
import asyncio, os, signal
from kowalski_jupyter.exo_sim import Simulation

async def main():
    async with Simulation(2) as sim:
        print(*(await sim.tell())["pids"], sim._process.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=False, timeout=60)
    processes = [psutil.Process(int(pid)) for pid in done.stdout.split() if psutil.pid_exists(int(pid))]
    _, alive = psutil.wait_procs(processes, 20)
    assert len(done.stdout.split()) == 3
    assert not alive
