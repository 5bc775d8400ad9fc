"""The scripted model and the scripted server: what tests and benchmarks rest on."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from kowalski_jupyter.models.base import Delta, Message, ModelCutOffError, ModelError, ModelRefusedError, Sampling
from kowalski_jupyter.models.scripted import ScriptedModel
from tests.support.asking import QUESTION, ask, collect, text
from tests.support.scripted_server import Reply, ScriptedServer, from_json


def test_replies_in_order_and_no_more() -> None:
    async def run() -> None:
        model = ScriptedModel(["first one", [Delta("a"), Delta(finish_reason="stop")], ModelRefusedError("no")])
        assert text(await collect(model)) == "first one"
        assert text(await collect(model)) == "a"
        with pytest.raises(ModelRefusedError, match="no"):
            await collect(model)
        with pytest.raises(ModelError, match="has 3 replies"):
            await collect(model)
        assert model.requests[0] == QUESTION

    asyncio.run(run())


def test_replies_by_a_function_stop_words_and_length() -> None:
    def shout(messages: Sequence[Message]) -> str:
        return messages[-1].content.upper()

    async def run() -> None:
        model = ScriptedModel(shout)
        assert text(await collect(model, stop=("OF",))) == "WHAT IS THE CAPITAL "
        deltas = await collect(model, max_tokens=2)
        assert (text(deltas), deltas[-1].finish_reason) == ("WHAT IS ", "length")
        assert all(delta.finish_reason is None for delta in deltas[:-1])

    asyncio.run(run())


def test_replies_that_break_off_or_are_closed() -> None:
    async def run() -> None:
        model = ScriptedModel([[Delta("a")], "a long reply"])
        with pytest.raises(ModelCutOffError):
            await collect(model)
        assert model.closed == 0
        stream = model.stream(QUESTION, Sampling())
        assert (await anext(stream)).text == "a lo"
        await stream.aclose()
        assert model.closed == 1

    asyncio.run(run())


SCRIPT = {
    "rules": [
        {"system": "sub", "replies": ["from the sub-model"]},
        {"user": "number (1|2)", "order": "turn", "replies": ["turn one", {"text": "turn two", "usage": False}]},
        {"order": "cycle", "replies": ["a", "b"]},
    ]
}


def test_rules_tell_root_and_sub_calls_apart() -> None:
    with ScriptedServer(from_json(SCRIPT)) as server:
        assert text(ask(server.url, [Message("system", "a sub-model"), Message("user", "number 1")])) == (
            "from the sub-model"
        )
        first = [Message("user", "number 1")]
        second = [*first, Message("assistant", "turn one"), Message("user", "number 2")]
        assert [text(ask(server.url, each)) for each in (second, first, second)] == ["turn two", "turn one", "turn two"]
        assert [text(ask(server.url, [Message("user", "else")])) for _ in range(3)] == ["a", "b", "a"]


def test_the_server_as_a_process_streams_or_not(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps(["one", {"text": "two", "reasoning": "hm"}]))
    command = [sys.executable, "-m", "tests.support.scripted_server", "--script", str(script), "--model", "m"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        assert text(ask(url)) == "one"
        with httpx.Client() as client:
            whole = client.post(f"{url}/v1/chat/completions", json={"model": "m", "messages": []}).json()
            assert whole["choices"][0]["message"] == {"role": "assistant", "content": "two", "reasoning_content": "hm"}
            assert whole["choices"][0]["finish_reason"] == "stop"
            assert client.get(f"{url}/v1/models").json()["data"][0]["id"] == "m"
            assert client.get(f"{url}/stats").json()["requests"] == 2
        process.communicate(timeout=10)
        assert process.returncode == 0


def test_a_fault_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="no fault 'typo'"):
        Reply(fault="typo")
