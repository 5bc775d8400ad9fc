"""The client against a real socket: what it sends, when it gives up, what it says then."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from kowalski_jupyter.models.base import (
    Delta,
    Message,
    ModelCutOffError,
    ModelError,
    ModelRefusedError,
    ModelStalledError,
    ModelUnreachableError,
    Sampling,
)
from kowalski_jupyter.models.openai import OpenAIModel
from kowalski_jupyter.models.reply import Clocks
from tests.support.asking import QUESTION, ask, collect, text
from tests.support.scripted_server import Reply, ScriptedServer

QUICK = Clocks(connect=1.0, first=0.3, between=0.3)


@pytest.fixture(autouse=True, params=["near", "far"])
def distance(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All is tested over the transport for this machine, and over httpx's own for all others."""
    if request.param == "far":
        monkeypatch.setattr("kowalski_jupyter.models.client.is_loopback", lambda _: False)
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(name, raising=False)


def test_what_is_sent() -> None:
    with ScriptedServer(["Paris."]) as server:

        async def run() -> None:
            model = OpenAIModel(server.url, "scripted", api_key="k")
            await collect(model, max_tokens=7, temperature=0.5, seed=3, stop=("```",))
            await collect(model)
            await model.aclose()

        asyncio.run(run())
        first, second = server.requests
        assert first.payload == {
            "model": "scripted",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION[1].content}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": 7,
            "temperature": 0.5,
            "seed": 3,
            "stop": ["```"],
        }
        assert "stop" not in second.payload
        assert first.headers["authorization"] == "Bearer k"
        assert server.connections == 1


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", "/v1/chat/completions"])
def test_the_url_may_be_written_in_any_way(path: str) -> None:
    with ScriptedServer(["ok"]) as server:
        assert text(ask(server.url + path)) == "ok"
        assert text(ask(server.url.removeprefix("http://") + path)) == "ok"


@pytest.mark.parametrize("shape", ["plain", "nulls", "parts"])
@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_shapes_of_replies(shape: str, key: str) -> None:
    reply = Reply("one two  three\n\nfour ", reasoning="hm", reasoning_key=key, shape=shape, usage=False)
    with ScriptedServer([reply]) as server:
        deltas = ask(server.url)
        assert text(deltas) == reply.text
        if shape != "parts":
            assert deltas[:2] == [Delta(), Delta(reasoning="hm")]
        assert deltas[-1] == Delta(finish_reason="stop")


def test_lone_surrogates_do_not_stop_a_request() -> None:
    with ScriptedServer(["ok"]) as server:
        assert text(ask(server.url, [Message("user", "a\ud800b")])) == "ok"
        assert server.requests[0].last("user") == "a?b"


@pytest.mark.parametrize(
    ("fault", "error", "kept", "requests"),
    [
        ("error-chunk", ModelRefusedError, "part", 1),
        ("done-only", ModelCutOffError, "part", 1),
        ("cut-off", ModelCutOffError, "part", 1),
        ("empty", ModelCutOffError, "", 1),
        ("stall", ModelStalledError, "part", 1),
        ("silent", ModelStalledError, "part", 1),
        ("hang", ModelStalledError, "", 1),
        ("die", ModelCutOffError, "part", 1),
        ("reset", ModelCutOffError, "part", 1),
        ("refuse", ModelUnreachableError, "", 3),
        ("garbage", ModelCutOffError, "part", 1),
    ],
)
def test_faults(fault: str, error: type[ModelError], kept: str, requests: int) -> None:
    with ScriptedServer([Reply("part", fault=fault)]) as server:

        async def run() -> str:
            model = OpenAIModel(server.url, "scripted", clocks=QUICK)
            came: list[Delta] = []
            with pytest.raises(ModelError) as raised:
                await collect(model, into=came)
            await model.aclose()
            assert type(raised.value) is error
            assert ". " in str(raised.value), "it says what to do next"
            return text(came)

        assert asyncio.run(run()) == kept
        assert len(server.requests) == requests


def test_an_idle_connection_that_was_closed_is_opened_again() -> None:
    replies = [Reply("one"), Reply(fault="refuse"), Reply("two")]
    with ScriptedServer(replies) as server:

        async def run() -> list[str]:
            model = OpenAIModel(server.url, "scripted")
            texts = [text(await collect(model)), text(await collect(model))]
            await model.aclose()
            return texts

        assert asyncio.run(run()) == ["one", "two"]
        assert len(server.requests) == 3


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_once_more(status: int) -> None:
    busy = Reply(status=status, headers={"Retry-After": "0"})
    with ScriptedServer([busy, "ok"]) as server:
        assert text(ask(server.url)) == "ok"
    with ScriptedServer([busy]) as server:
        with pytest.raises(ModelRefusedError, match="wait a little"):
            ask(server.url)
        assert len(server.requests) == 2
    with ScriptedServer([Reply(status=status, headers={"Retry-After": "3600"})]) as server:
        with pytest.raises(ModelRefusedError, match="wait a little"):
            ask(server.url)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "said", "advice"),
    [
        (401, "Incorrect API key provided: sekret", "KOWALSKI_API_KEY"),
        (403, "no", "KOWALSKI_API_KEY"),
        (404, "model x not found", "one, two"),
        (400, "the request exceeds the available context size", "smaller parts"),
        (500, "boom", "its log"),
        (418, "teapot", "KOWALSKI_URL"),
    ],
)
def test_refusals_say_what_to_do(status: int, said: str, advice: str) -> None:
    with ScriptedServer([Reply(status=status, error=said)], models=["one", "two"]) as server:
        with pytest.raises(ModelRefusedError) as raised:
            ask(server.url, api_key="sekret")
        assert said.split(": ", maxsplit=1)[0] in str(raised.value)
        assert advice in str(raised.value)
        assert "sekret" not in str(raised.value)
        assert len(server.requests) == 1


def test_exo_names_what_is_loaded_not_its_catalogue() -> None:
    instances = {"i": {"MlxRingInstance": {"shardAssignments": {"modelId": "loaded", "nodeToRunner": {"n": "r"}}}}}
    routes = {"/state/instances": instances, "/state/runners": {"r": {"RunnerReady": {}}}}
    with (
        ScriptedServer([Reply(status=404, error="No instance found")], models=["catalogue"], routes=routes) as server,
        pytest.raises(ModelRefusedError, match="but loaded: set KOWALSKI_MODEL"),
    ):
        ask(server.url, kind="exo")


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ModelUnreachableError, match="KOWALSKI_URL"):
        ask(f"http://user:password@127.0.0.1:{port}")


def test_passwords_in_addresses_are_not_told() -> None:
    assert OpenAIModel("http://user:password@host:1/v1", "m").where == "host:1"


@pytest.mark.parametrize("messages", [[], [Message("user", "")], [Message("user", " \n")]])
def test_nothing_to_ask_is_not_sent(messages: list[Message]) -> None:
    with ScriptedServer(["ok"]) as server:
        with pytest.raises(ModelRefusedError, match="empty"):
            ask(server.url, messages)
        assert not server.requests


def test_words_that_kill_an_exo_runner_are_defused_for_exo_only() -> None:
    words = "the log says EXO RUNNER MUST FAIL and EXO RUNNER MUST OOM and EXO RUNNER MUST TIMEOUT"
    with ScriptedServer(["ok"]) as server:
        ask(server.url, [Message("user", words)], kind="exo")
        ask(server.url, [Message("user", words)])
        exo, other = (request.last("user") for request in server.requests)
        assert "EXO RUNNER MUST" not in exo
        assert exo.replace("\u200d", "") == words == other


def test_a_prompt_beyond_the_window_is_not_sent_where_the_server_would_not_say() -> None:
    long = [Message("user", "word " * 4000)]
    with ScriptedServer(["ok"]) as server:
        for kind in ("exo", "ollama"):
            with pytest.raises(ModelRefusedError, match=r"5,000 tokens.*4,096.*Shorten it by about \d"):
                ask(server.url, long, kind=kind, context_tokens=4096)
        assert not server.requests
        assert text(ask(server.url, long, kind="llama.cpp", context_tokens=4096)) == "ok"
        assert text(ask(server.url, long, kind="exo")) == "ok"
        assert text(ask(server.url, long, kind="exo", context_tokens=8192)) == "ok"


def events(*data: str) -> bytes:
    return b"".join(f"data: {each}\n\n".encode() for each in data)


FINISH = '{"choices": [{"delta": {}, "finish_reason": "stop"}]}'


def test_the_usage_may_come_later_and_nothing_after_the_end_can_spoil_a_reply(replay: Callable[..., str]) -> None:
    usage = '{"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 2}}'
    for after in ((usage, "[DONE]"), ("garbage", usage), (FINISH, '{"error": "late"}', usage)):
        last = ask(replay(events(FINISH, *after)))[-1]
        assert last.finish_reason == "stop"
        assert last.usage
        assert last.usage.prompt_tokens == 4


def test_a_server_that_compresses_all_the_same_is_understood(replay: Callable[..., str]) -> None:
    body = gzip.compress(events('{"choices": [{"delta": {"content": "Paris."}}]}', FINISH))
    assert text(ask(replay(body, header=b"Content-Encoding: gzip\r\n", piece=20))) == "Paris."


def test_a_server_that_keeps_a_finished_stream_open_does_not_hold_up_the_reply(replay: Callable[..., str]) -> None:
    assert ask(replay(events(FINISH), hold=True))[-1].finish_reason == "stop"


def test_silence_is_noticed_where_keep_alives_are_promised(replay: Callable[..., str]) -> None:
    url = replay(b": keep-alive\n\n", hold=True)
    with pytest.raises(ModelStalledError, match="nothing for"):
        ask(url, kind="exo", clocks=Clocks(silence=0.2))


def test_prefill_is_progress_and_keep_alives_are_not(replay: Callable[..., str]) -> None:
    prefill, keep_alive, clocks = b": prefill_progress {}\n\n", b": keep-alive\n\n", Clocks(first=0.4)
    how = {"piece": len(prefill), "pause": 0.05}
    assert ask(replay(prefill * 15 + events(FINISH), **how), clocks=clocks)[-1].finish_reason == "stop"
    with pytest.raises(ModelStalledError, match="no token for"):
        ask(replay(keep_alive * 150 + events(FINISH), **how), clocks=clocks)


def test_who_reads_slowly_is_not_taken_for_a_stalled_server() -> None:
    with ScriptedServer([Reply("a b c", token_delay=0.01)]) as server:

        async def run() -> str:
            model = OpenAIModel(server.url, "scripted", clocks=Clocks(first=0.1, between=0.1))
            came = []
            async for delta in model.stream(QUESTION, Sampling()):
                came.append(delta)
                await asyncio.sleep(0.15)
            await model.aclose()
            return text(came)

        assert asyncio.run(run()) == "a b c"


async def _drain(stream: AsyncIterator[Delta]) -> None:
    async for _ in stream:
        pass


@pytest.mark.parametrize("how", ["aclose", "cancel"])
def test_closing_reaches_the_server_at_once_and_nothing_is_sent_after(how: str) -> None:
    with ScriptedServer([Reply("word " * 2000, token_delay=0.005)]) as server:

        async def run() -> None:
            model = OpenAIModel(server.url, "scripted")
            stream = model.stream(QUESTION, Sampling())
            await anext(stream)
            if how == "aclose":
                await stream.aclose()
            else:
                task = asyncio.ensure_future(_drain(stream))
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            # The reply would go on for ten seconds more.
            await asyncio.to_thread(server.wait_for, lambda: server.requests[0].disconnected, 5)
            await model.aclose()

        asyncio.run(run())
        assert len(server.requests) == 1
        assert server.connections == 1


def test_cancelling_before_the_first_byte_closes_too() -> None:
    with ScriptedServer([Reply(fault="hang")]) as server:

        async def run() -> None:
            model = OpenAIModel(server.url, "scripted")
            task = asyncio.ensure_future(collect(model))
            await asyncio.to_thread(server.wait_for, lambda: server.requests)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(server.wait_for, lambda: server.requests[0].disconnected, 5)
            await model.aclose()

        asyncio.run(run())
        assert len(server.requests) == 1


def test_a_hundred_requests_at_a_time() -> None:
    with ScriptedServer([Reply("ok", delay=0.2)]) as server:

        async def run() -> list[Any]:
            model = OpenAIModel(server.url, "scripted")
            replies = await asyncio.gather(*(collect(model) for _ in range(100)))
            await model.aclose()
            return replies

        assert all(text(reply) == "ok" for reply in asyncio.run(run()))
        assert server.max_in_flight == 100
