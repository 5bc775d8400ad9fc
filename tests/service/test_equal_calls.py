"""Calls that look alike, in runs that are gone through again: each gets what it got."""

from __future__ import annotations

import asyncio
import itertools
import json
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from kowalski_jupyter.rlm import events as ev
from kowalski_jupyter.service.runs import LiveRun
from kowalski_jupyter.service.service import Service
from tests.service.test_resume import (
    NOTES,
    ask,
    block,
    ended,
    family,
    forget_the_end,
    is_first,
    packed,
    resume,
    service_on,
    value,
)
from tests.support.scripted_server import Reply, Request, ScriptedServer

GATHERED = "r = await asyncio.gather(*[llm_query_async('dice') for _ in range(3)])"
THREADS = (
    "from concurrent.futures import ThreadPoolExecutor\n"
    "with ThreadPoolExecutor(3) as pool:\n    r = sorted(pool.map(llm_query, ['dice'] * 3))"
)
ONE_BY_ONE = "r = [llm_query('dice'), llm_query('dice')]"
UNTIL_GOOD = (
    "r = []\nwhile True:\n    try:\n        r.append(llm_query('flaky'))\n        break\n"
    "    except Exception as e:\n        r.append(str(e))"
)


def dice(code: str, then: str) -> Callable[[Request], Reply | str]:
    """A root that says these two blocks, dice that fall 1, 2, 3 …, and a model that is busy at first."""
    throws, tries = itertools.count(1), itertools.count()

    def script(request: Request) -> Reply | str:
        asked = request.last("user")
        if asked == "dice":
            return Reply(str(next(throws)), delay=0.2)
        if asked == "flaky":
            return "good" if next(tries) else Reply(status=400, error="it is busy")
        return block(code if is_first(request) else then)

    return script


async def replayed(service: Service, run: LiveRun, data: Mapping[str, Any] = NOTES) -> LiveRun:
    return await ended(service.replay(run.id, packed(service.data_root, data)))


@pytest.mark.parametrize(
    ("code", "options"),
    [(GATHERED, {}), (THREADS, {}), (ONE_BY_ONE, {"fresh": True}), (UNTIL_GOOD, {})],
    ids=["gathered", "threads", "fresh", "until it is good"],
)
def test_each_gets_its_own_reply_again(tmp_path: Path, code: str, options: dict[str, Any]) -> None:
    async def main(server: ScriptedServer) -> None:
        async with service_on(server, tmp_path) as service:
            first = await ask(service, **options)
            assert len(set(value(first))) == len(value(first)) > 1
            asked = len(server.requests)
            again = await replayed(service, first)
            assert value(again) == value(first)
            assert value(await replayed(service, again)) == value(first)
            assert len(server.requests) == asked
            assert value(await resume(service, first.id, turn=2)) == value(first)
            assert len(server.requests) == asked + 1

    with ScriptedServer(dice(code, "FINAL(r)")) as server:
        asyncio.run(main(server))


def test_of_a_vote_that_was_broken_off_the_rest_is_asked_for(tmp_path: Path, own_store: Path) -> None:
    async def main(server: ScriptedServer) -> None:
        async with service_on(server, tmp_path) as service:
            first = await ask(service)
        forget_the_end(own_store, first.id, after=lambda e: isinstance(e, ev.SubcallFinished))
        async with service_on(server, tmp_path) as service:
            second = await resume(service, first.id)
            assert len({*value(second)} & {*value(first)}) == 1
            assert {*value(second)} > {"4", "5"}
            assert value(await replayed(service, second)) == value(second)

    with ScriptedServer(dice(GATHERED, "FINAL(r)")) as server:
        asyncio.run(main(server))


def test_a_fresh_run_that_goes_on_asks_anew(tmp_path: Path) -> None:
    async def main(server: ScriptedServer) -> None:
        async with service_on(server, tmp_path) as service:
            first = await ask(service, max_turns=1, fresh=True)
            second = await resume(service, first.id, options={"max_turns": 5})
            assert value(second) == ["1", "2", "3"]
            branch = await resume(service, second.id, turn=2)
            assert value(branch) == ["1", "4", "5"]

    with ScriptedServer(dice("a = llm_query('dice')", "FINAL([a, llm_query('dice'), llm_query('dice')])")) as server:
        asyncio.run(main(server))


def test_a_failure_is_told_again_but_not_to_code_that_was_broken_off(tmp_path: Path, own_store: Path) -> None:
    async def main(server: ScriptedServer) -> None:
        async with service_on(server, tmp_path) as service:
            first = await ask(service)
            assert "it is busy" in value(first)[0]
        forget_the_end(own_store, first.id, after=lambda e: isinstance(e, ev.SubcallFinished))
        async with service_on(server, tmp_path) as service:
            assert value(await resume(service, first.id)) == ["good"]

    with ScriptedServer(dice(UNTIL_GOOD, "FINAL(r)")) as server:
        asyncio.run(main(server))


def test_another_model_does_not_pay_again_for_what_was_asked(tmp_path: Path) -> None:
    async def main(server: ScriptedServer) -> None:
        async with service_on(server, tmp_path) as service:
            first = await ask(service, max_turns=1)
        server.models[:] = [{"id": "other", "object": "model"}]
        async with service_on(server, tmp_path) as service:
            second = await resume(service, first.id, options={"max_turns": 5})
            assert value(second) == ["1", "2", "3"]
            assert sum(request.last("user") == "dice" for request in server.requests) == 3
            assert any("other goes on" in text for text in second.trace.document()["notices"])
            branch = await resume(service, second.id, turn=1)
            assert value(branch) == ["1", "2", "3"]
            assert sum(request.last("user") == "dice" for request in server.requests) == 3

    with ScriptedServer(dice(GATHERED, "FINAL(r)")) as server:
        asyncio.run(main(server))


def summaries(request: Request) -> str:
    if "Question: Summarise" in str(request.messages):
        return block("FINAL(f'summary of {context[:3]}')")
    return block("FINAL(rlm_query('Summarise', 'aaaaa'))")


def test_a_child_run_with_another_context_is_another(tmp_path: Path) -> None:
    async def main(server: ScriptedServer) -> None:
        async with service_on(server, tmp_path, depth=2) as service:
            first = await ask(service)
            for context, paid in (("aaaaa", 0), ("bbbbb", 1)):
                asked = len(server.requests)
                reply = block(f"FINAL(rlm_query('Summarise', '{context}'))")
                branch = await resume(service, first.id, turn=1, reply=reply)
                assert value(branch) == f"summary of {context[:3]}"
                assert len(server.requests) - asked == paid

    with ScriptedServer(summaries) as server:
        asyncio.run(main(server))


CROSSING = """
async def one(number):
    await llm_query_async(f'sub {number}')
    return await rlm_query_async(f'Child {number}?', 'x' * number)
FINAL(await asyncio.gather(one(1), one(2)))
"""


def crossing(request: Request) -> Reply | str:
    """Answers the first sub-call last, so that the second child run begins first."""
    asked = request.last("user")
    if asked.startswith("sub"):
        return Reply("ok", delay=0.5 if asked == "sub 1" else 0.0)
    if "Question: Child" in str(request.messages):
        return block("FINAL(len(context))")
    return block(CROSSING)


def test_child_runs_that_began_side_by_side_are_replayed_in_any_order(tmp_path: Path) -> None:
    async def main(server: ScriptedServer) -> None:
        async with service_on(server, tmp_path, depth=2) as service:
            first = await ask(service)
            assert value(first) == [1, 2]
            again = await replayed(service, first)
            assert value(again) == [1, 2]
            assert service.replay_report(again.id)["same"]

    with ScriptedServer(crossing) as server:
        asyncio.run(main(server))


def failing_child(request: Request) -> Reply | str:
    if "Question: Fail" in str(request.messages):
        return Reply(status=400, error="it is full")
    if is_first(request):
        return block("try:\n    rlm_query('Fail', 'x')\nexcept Exception as e:\n    said = str(e)")
    return block("FINAL(said)")


def test_a_child_run_that_failed_has_failed_again(tmp_path: Path) -> None:
    async def main(server: ScriptedServer) -> None:
        async with service_on(server, tmp_path, depth=2) as service:
            first = await ask(service)
            assert "it is full" in value(first)
            again = await replayed(service, first)
            assert value(again) == value(first)
            asked = len(server.requests)
            assert value(await resume(service, first.id, turn=2)) == value(first)
            assert len(server.requests) == asked + 1

    with ScriptedServer(failing_child) as server:
        asyncio.run(main(server))


def test_child_runs_of_records_without_keys_are_known_by_their_questions(tmp_path: Path, own_store: Path) -> None:
    async def main(server: ScriptedServer) -> None:
        async with service_on(server, tmp_path, depth=2) as service:
            first = await ask(service)
        forget_the_keys_of_children(own_store)
        async with service_on(server, tmp_path, depth=2) as service:
            again = await replayed(service, service.find(first.id))
            assert value(again) == value(first) == 6

    with ScriptedServer(family) as server:
        asyncio.run(main(server))


def forget_the_keys_of_children(own_store: Path) -> None:
    """Make the stored runs such as versions without those keys have written."""
    database = sqlite3.connect(own_store)
    for *row, data in database.execute("SELECT run, seq, data FROM events").fetchall():
        event = json.loads(data)
        if event["type"] == "subcall_started" and event["run"]:
            without = json.dumps({**event, "key": ""})
            database.execute("UPDATE events SET data = ? WHERE run = ? AND seq = ?", (without, *row))
    database.commit()
    database.close()
