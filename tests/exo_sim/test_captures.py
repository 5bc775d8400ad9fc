"""What simulated nodes send, held against what a real exo sent: byte by byte but for ids, dates and figures."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from kowalski_jupyter.exo_sim import Device, Model, Reply, Rule, Simulation
from kowalski_jupyter.exo_sim.plan import GIB
from tests.exo_sim.support import SMOL, ask, asking, chat, exchange, request, until, until_state

FOLDERS = (Path(__file__).parent / "captures", Path(__file__).parents[1] / "models" / "captures")
LINUX = [Device(f"exo-node-{i + 1}", mac=False, memory=25276510208, available=g * GIB) for i, g in enumerate((8, 6, 4))]
KIMI = Model("mlx-community/Kimi-K2.5", size=662498705408, downloaded=False)
STORY = "Write a very long story about a dragon."
RULES = [
    Rule("capital", text="The capital of France is Paris."),
    Rule("years", text="The past few years have been good."),
    Rule("dragon", text="Once upon a time, there was a dragon named Zorath. Zorath was a magnificent creature " * 9,
         tokens_per_second=200),
]  # fmt: skip

MASKS = [
    (rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", b"UUID"),
    (rb"\b[0-9a-f]{32}\b", b"NODE"),
    (rb"date: [^\r]+", b"date: DATE"),
    (rb'"created":\d+', b'"created":TIME'),
    (rb'"(processed_tokens|total_tokens|prompt_tokens|cached_tokens|in_bytes|prompt_tps|generation_tps)":[\d.]+',
     rb'"\1":FIGURE'),
    (rb'"prefix_cache_hit":"\w+"', b'"prefix_cache_hit":HOW'),
    (rb"content-length: \d+", b"content-length: SIZE"),
    (rb"(?m)^[0-9a-f]+\r\n", b"SIZE\r\n"),
]  # fmt: skip


def capture(name: str) -> bytes:
    found = [folder / name for folder in FOLDERS if (folder / name).exists()]
    return found[0].read_bytes()


def masked(answer: bytes) -> bytes:
    for pattern, mask in MASKS:
        answer = re.sub(pattern, mask, answer)
    return answer


def simulation(**settings: Any) -> Simulation:
    return Simulation(LINUX, models=[SMOL, KIMI], speed=200, replies=settings.pop("replies", RULES), **settings)


EXCHANGES: list[tuple[str, str, str, object]] = [
    ("node_id.http", "GET", "/node_id", None),
    ("feature-flags.http", "GET", "/v1/feature-flags", None),
    ("instance-links.http", "GET", "/v1/instance-links", None),
    ("models-downloaded.http", "GET", "/v1/models?status=downloaded", None),
    ("err-404-path.http", "GET", "/v1/nothing", None),
    ("err-404-post.http", "POST", "/execute/repl", {"code": "1+1"}),
    ("err-method.http", "GET", "/v1/chat/completions", None),
    ("err-state-path.http", "GET", "/state/nope/x", None),
    ("err-instance-unknown.http", "GET", "/instance/nope", None),
    ("err-instance-delete-unknown.http", "DELETE", "/instance/nope", None),
    ("err-cancel-unknown.http", "POST", "/v1/cancel/nope", {}),
    ("err-malformed-json.http", "POST", "/v1/chat/completions", b'{"model": "x", '),
    ("err-missing-field.http", "POST", "/v1/chat/completions", {"model": "x"}),
    ("err-wrong-type.http", "POST", "/v1/chat/completions", b'{"model":"x","messages":"hello"}'),
    ("err-known-model-no-instance.http", "POST", "/v1/chat/completions",
     chat(model="mlx-community/Qwen3-0.6B-4bit")),
    ("place-unknown-model.http", "POST", "/place_instance", {"model_id": "nope/nope"}),
    ("previews-unknown-model.http", "GET", "/instance/previews?model_id=nope/nope", None),
    ("placement-toobig.http", "GET", f"/instance/placement?model_id={KIMI.id}", None),
    ("chat-stream.http", "POST", "/v1/chat/completions", chat("What is the capital of France?", model=SMOL.id)),
    ("chat-nonstream.http", "POST", "/v1/chat/completions",
     chat("What is the capital of France?", model=SMOL.id, stream=False)),
    ("chat-stream-length.http", "POST", "/v1/chat/completions", chat("The years?", model=SMOL.id, max_tokens=5)),
    ("place-3-pipeline.http", "POST", "/place_instance", {"model_id": SMOL.id, "min_nodes": 3}),
]  # fmt: skip


def test_answers_are_exos_bytes() -> None:
    async def main() -> dict[str, bytes]:
        async with simulation() as sim:
            await sim.place(SMOL.id)
            answers = {name: await exchange(sim.url, *rest) for name, *rest in EXCHANGES}
            form = await exchange(sim.url, "POST", "/v1/chat/completions", b'{"model":"x"}', "text/plain")
            answers["err-form-ctype.http"] = form
            return answers

    for name, answer in asyncio.run(main()).items():
        assert masked(answer) == masked(capture(name)), name


def test_a_runner_that_fails_sends_exos_bytes() -> None:
    async def main() -> dict[str, bytes]:
        async with simulation() as sim:
            await sim.place(SMOL.id)
            nothing = chat(model=SMOL.id) | {"messages": []}
            return {
                "err-empty-messages-stream.http": await ask(sim.url, nothing),
                "err-empty-messages.http": await ask(sim.url, nothing | {"stream": False}),
                "debug-prompt-fail.http": await ask(sim.url, chat("EXO RUNNER MUST FAIL", model=SMOL.id)),
            }

    for name, answer in asyncio.run(main()).items():
        assert _without_keep_alives(masked(answer)) == _without_keep_alives(masked(capture(name))), name


@pytest.mark.parametrize(
    ("fault", "stream", "name"),
    [
        ("kill_runner", True, "runner-killed-midstream.http"),
        ("kill_runner", False, "runner-killed-nonstream.http"),
        ("delete_instance", True, "instance-deleted-midstream.http"),
        ("delete_instance", False, "instance-deleted-nonstream.http"),
        ("stop_node", True, "sigterm-midstream.http"),
    ],
)
def test_what_ends_a_request_ends_it_with_exos_bytes(fault: str, stream: bool, name: str) -> None:
    async def main() -> bytes:
        async with simulation() as sim:
            await sim.place(SMOL.id)
            async with asking(sim.url, chat(STORY, model=SMOL.id, stream=stream)) as reader:
                await until(lambda: _tokens(sim, 5))
                await sim.inject(fault, **({"node": 0} if fault == "stop_node" else {}))
                return await reader.read()

    expected = masked(capture(name))
    answer = masked(asyncio.run(main()))
    assert _kinds(answer) == _kinds(expected)
    assert answer.partition(b"\r\n\r\n")[0] == expected.partition(b"\r\n\r\n")[0]
    assert (
        answer.rpartition(b'SIZE\r\ndata: {"id')[2].partition(b"\n\n")[2]
        == (expected.rpartition(b'SIZE\r\ndata: {"id')[2].partition(b"\n\n")[2])
    )


def test_deleting_and_cancelling_are_answered_with_exos_bytes() -> None:
    async def main() -> dict[str, bytes]:
        async with simulation() as sim:
            instance = await sim.place(SMOL.id)
            async with (
                asking(sim.url, chat(STORY, model=SMOL.id)) as streamed,
                asking(sim.url, chat(STORY, model=SMOL.id, stream=False)) as whole,
            ):
                await until(lambda: _tokens(sim, 1, requests=2))
                ids = [record.id for record in await sim.requests()]
                answers = [await exchange(sim.url, "POST", f"/v1/cancel/{each}", {}) for each in ids]
                ends = [await streamed.read(), await whole.read()]
            deleted = await exchange(sim.url, "DELETE", f"/instance/{instance}")
            one, other = (ends[0], ends[1]) if b"event-stream" in ends[0] else (ends[1], ends[0])
            assert _kinds(masked(one)) == _kinds(masked(capture("cancel-midstream.http")))
            return {
                "cancel-request.http": answers[0],
                "cancel-nonstream.http": other,
                "instance-delete.http": deleted,
            }

    for name, answer in asyncio.run(main()).items():
        assert masked(answer) == masked(capture(name)), name


def test_thoughts_are_sent_as_exo_sends_them() -> None:
    async def main() -> tuple[bytes, bytes]:
        async with simulation(replies=lambda _: Reply("Paris.", reasoning="Let me think.")) as sim:
            await sim.place(SMOL.id)
            question = chat("Where?", model=SMOL.id, stream=False)
            return await ask(sim.url, question), await ask(sim.url, question | {"stream": True})

    whole, stream = asyncio.run(main())
    answer = json.loads(whole.partition(b"\r\n\r\n")[2].split(b"\r\n")[1])
    expected = json.loads(capture("reasoning.nonstream.txt"))
    assert answer["choices"] == expected["choices"]
    assert answer["usage"].keys() == expected["usage"].keys()
    assert b'"delta":{"role":"assistant","reasoning_content":"Let"}}]}' in stream
    assert b'"delta":{"role":"assistant","reasoning_content":"Let me "}}]}' in capture("reasoning.stream.txt")


def test_previews_are_exos() -> None:
    async def main() -> bytes:
        async with simulation() as sim:
            return await exchange(sim.url, "GET", f"/instance/previews?model_id={SMOL.id}")

    answer = json.loads(asyncio.run(main()).partition(b"\r\n\r\n")[2])
    expected = json.loads(capture("previews.json"))
    assert shape(answer) == shape(expected)
    assert [_placed(p) for p in answer["previews"]] == [_placed(p) for p in expected["previews"]]


def test_the_state_is_exos() -> None:
    async def main() -> Any:
        async with simulation(replies="One. Two. Three." * 500) as sim:
            await sim.place(SMOL.id, nodes=3)
            async with asking(sim.url, chat(STORY, model=SMOL.id, max_tokens=300)) as reader:
                await reader.readuntil(b"keep-alive")
            await until_state(sim, "lastEventAppliedIdx", bool)
            return json.loads((await exchange(sim.url, "GET", "/state")).partition(b"\r\n\r\n")[2])

    answer = asyncio.run(main())
    expected = json.loads(capture("state-pipeline.json"))
    assert list(answer) == list(expected)
    for part in answer:
        if part not in ("runners", "tasks", "downloads"):
            assert shape(answer[part]) == shape(expected[part]), part
        else:  # as many kinds of entries as happened to be there, of models with other defaults
            missing = shape(answer[part]) - shape(expected[part])
            assert not [line for line in missing if "samplingDefaults." not in line], part
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", next(iter(answer["lastSeen"].values())))


def test_a_request_may_come_in_pieces_and_follow_another() -> None:
    async def main() -> list[bytes]:
        async with simulation() as sim:
            host, port = sim.url.removeprefix("http://").split(":")
            reader, writer = await asyncio.open_connection(host, port)
            answers = []
            for _ in range(2):
                for byte in request("GET", "/node_id").replace(b"Connection: close\r\n", b""):
                    writer.write(bytes([byte]))
                    await writer.drain()
                answers.append(await reader.readuntil(b'"') + await reader.readuntil(b'"'))
            writer.close()
            return answers

    first, second = asyncio.run(main())
    assert masked(first) == masked(second) == masked(capture("node_id.http")).replace(b"Connection: close\r\n", b"")


def _placed(preview: dict[str, Any]) -> tuple[Any, ...]:
    """What a preview decides: how, over how many, which layers where, how much."""
    if preview["instance"] is None:
        return preview["sharding"], preview["instance_meta"], preview["error"]
    shards = next(iter(preview["instance"].values()))["shardAssignments"]["runnerToShard"].values()
    bounds = [(s["startLayer"], s["endLayer"]) for shard in shards for s in shard.values()]
    return preview["sharding"], preview["instance_meta"], bounds, list(preview["memory_delta_by_node"].values())


async def _tokens(sim: Simulation, tokens: int, requests: int = 1) -> bool:
    """Whether so many requests have so many tokens each."""
    return [record.tokens >= tokens for record in await sim.requests()] == [True] * requests


def _kinds(answer: bytes) -> list[bytes]:
    """The kinds of lines of a stream, each once for each run of them."""
    found: list[bytes] = []
    for line in re.findall(rb"(?m)^(?:: \S+|data: \S{6})", answer.replace(b": keep-alive", b"")):
        if not found or found[-1] != line:
            found.append(line)
    return found


def _without_keep_alives(answer: bytes) -> bytes:
    """An answer with the first of its keep-alives only: how many there are is a matter of time."""
    alive = b"SIZE\r\n: keep-alive\n\n\r\n"
    first, found, rest = answer.partition(alive)
    return first + found + rest.replace(alive, b"")


ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f-]{27}")


def shape(value: Any, path: str = "") -> set[str]:
    """The paths of a JSON value and the types at their ends: ids as keys, and places in lists, are all the same."""
    if isinstance(value, dict):
        keys = ["ID" if ID.fullmatch(key) else key for key in value]
        order = {f"{path} in order: {','.join(keys)}"} if "ID" not in keys else set[str]()
        return order.union(*(shape(v, f"{path}.{k}") for k, v in zip(keys, value.values(), strict=True)))
    if isinstance(value, list):
        return {f"{path}[]"}.union(*(shape(each, f"{path}[]") for each in value))
    return {f"{path}: {type(value).__name__}"}
