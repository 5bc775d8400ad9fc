"""A service killed at any event of a run loses no turn that had happened, and resuming pays only for the rest."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from kowalski_jupyter.kernels.values import decode_answer
from kowalski_jupyter.rlm import events as ev
from tests.service.conftest import until
from tests.service.killable import packed, toy_service
from tests.support.scripted_server import Reply, Request, ScriptedServer

ROOT = Path(__file__).parents[2]
TURNS = 5
CALLS = 13
ANSWER = (TURNS - 1) * CALLS
KEPT = ("reply_finished", "cell_finished", "feedback", "answered", "run_finished")
"""Events that are written, with all before them, before anything else happens."""
PAID = ("reply_finished", "subcall_finished")


def script(request: Request) -> Reply | str:
    """Four turns with sub-calls, one after the other or all at once, and one that adds them up."""
    asked = request.last("user")
    if asked.startswith("call "):
        return "1"
    turn = sum("So far so good" in str(message["content"]) for message in request.messages) + 1
    if turn == TURNS:
        code = "await FINAL(sum(int(said) for each in kept for said in each))"
    else:
        start = "kept = []\n" if turn == 1 else ""
        prompts = f"[f'call {turn}.{{i}}' for i in range({CALLS})]"
        asking = f"[await llm_query(p) for p in {prompts}]" if turn % 2 else f"await llm_query_batched({prompts})"
        code = f"{start}kept.append({asking})"
    return Reply(f"So far so good.\n```repl\n{code}\n```", whole=turn > 1)


@contextmanager
def killer(url: str, kernels: str, of_killed: Path) -> Iterator[Any]:
    """A function that runs until the n-th event, kills, and returns the events that there were."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.service.killable", url, kernels],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(of_killed)},
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def run(n: int, store: Path, root: Path) -> list[dict[str, Any]]:
        process.stdin.write(f"{n} {store} {root}\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
        return list(json.loads(process.stdout.readline()))  # type: ignore[union-attr]

    try:
        yield run
    finally:
        process.stdin.close()
        process.stdout.close()
        assert process.wait(30) == 0


def requests_of(server: ScriptedServer) -> list[str]:
    return [f"{len(request.messages)}:{request.last('user')}" for request in server.requests]


async def resumed(url: str, store: Path, root: Path, told: list[dict[str, Any]], *, real: bool = False) -> None:
    """Check that a new service knows of a killed run what was `told`, and go on with it."""
    service = toy_service(url, store, root, real_kernels=real)
    try:
        run_id = told[0]["run"]
        kept = [event.to_json() for event in service.record(run_id)]
        for kind in KEPT:
            emitted = [{**event, "seq": 0} for event in told if event["type"] == kind]
            stored = [{**event, "seq": 0} for event in kept if event["type"] == kind]
            assert stored[: len(emitted)] == emitted
        (row,) = service.status()["runs"]
        if row["state"] == "done":
            answer = service.find(run_id).answer
        else:
            assert told[-1]["type"] != "run_finished"
            assert (row["state"], row["resumable"]) == ("failed", True)
            live = service.resume(run_id, packed(root))
            await asyncio.gather(*filter(None, [live.task]))
            answer = live.answer
            assert answer is not None, live.trace.error
            turns = [event.turn for event in live.log.events if isinstance(event, ev.ReplyFinished)]
            assert turns == list(range(1, TURNS + 1))
        assert answer is not None
        assert decode_answer(answer.kind, answer.data) == ANSWER
    finally:
        await service.close()


def settle(server: ScriptedServer) -> None:
    """Wait until the server has read all that a killed process has sent it."""
    httpx.get(f"{server.url}/stats")  # comes after that process's connections
    until(lambda: not server.in_flight and not server.open_connections)


def check(server: ScriptedServer, before: int, told: list[dict[str, Any]], n: int) -> None:
    """See that the requests after the kill are those whose replies were not there at the kill, once each.

    What comes after the n-th event in the same step of the loop, before anybody can be told, may be there or not. So
    may the replies to sub-calls since the last event of `KEPT`, which are written a few milliseconds later.
    """
    paid = [event["type"] in PAID for event in told]
    written = max((number for number, event in enumerate(told[:n], 1) if event["type"] in KEPT), default=0)
    again = requests_of(server)[before:]
    assert len(again) == len(set(again))
    assert TURNS + ANSWER - sum(paid) <= len(again) <= TURNS + ANSWER - sum(paid[:written])


def test_a_kill_after_any_event_loses_no_turn(tmp_path: Path, of_killed: Path) -> None:
    with ScriptedServer(script) as server, killer(server.url, "toy", of_killed) as run:
        whole = run(0, tmp_path / "whole" / "runs.sqlite", tmp_path / "data")
        assert len(whole) >= 200
        for n in range(1, len(whole) + 1):
            store, root = tmp_path / f"store-{n}" / "runs.sqlite", tmp_path / f"data-{n}"
            told = run(n, store, root)
            assert len(told) >= n
            settle(server)
            before = len(server.requests)
            asyncio.run(resumed(server.url, store, root, told[:n]))
            check(server, before, told, n)


def test_a_kill_at_the_end_loses_no_large_answer(tmp_path: Path, of_killed: Path) -> None:
    text = "large" * 2_000_000

    async def kept(store: Path, run_id: str) -> Any:
        service = toy_service("", store, tmp_path / "data")
        answer = service.find(run_id).answer
        await service.close()
        assert answer is not None
        return decode_answer(answer.kind, answer.data)

    with (
        ScriptedServer(lambda _: "```repl\nawait FINAL('large' * 2_000_000)\n```") as server,
        killer(server.url, "toy", of_killed) as run,
    ):
        whole = run(0, tmp_path / "whole" / "runs.sqlite", tmp_path / "data")
        for n in (len(whole) - 1, len(whole)):  # the answer and the end
            store = tmp_path / f"store-{n}" / "runs.sqlite"
            told = run(n, store, tmp_path / "data")
            assert asyncio.run(kept(store, told[0]["run"])) == text


REAL = (
    (lambda event: event["type"] == "subcall_finished" and event["call"] == CALLS + 3),
    (lambda event: event["type"] == "feedback" and event["turn"] == 3),
)


def without_await(request: Request) -> Reply | str:
    reply = script(request)
    return reply if isinstance(reply, str) else Reply(reply.text.replace("await ", ""))


@pytest.mark.parametrize("where", REAL, ids=["amid a batch", "between turns"])
def test_a_kill_with_real_kernels(tmp_path: Path, of_killed: Path, where: Any) -> None:
    with ScriptedServer(without_await) as server, killer(server.url, "real", of_killed) as run:
        whole = run(0, tmp_path / "whole" / "runs.sqlite", tmp_path / "data")
        n = next(number for number, event in enumerate(whole, 1) if where(event))
        children = psutil.Process().children(recursive=True)
        store, root = tmp_path / "store" / "runs.sqlite", tmp_path / "data-killed"
        told = run(n, store, root)
        settle(server)
        before = len(server.requests)
        asyncio.run(resumed(server.url, store, root, told[:n], real=True))
        check(server, before, told, n)
        left = set(psutil.Process().children(recursive=True)) - set(children)
        until(lambda: not [child for child in left if child.is_running()])
