"""Runs that outlive their service: shown again, gone on with, branched from."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kowalski_jupyter.kernels.base import DataItem
from kowalski_jupyter.kernels.pack import pack
from kowalski_jupyter.kernels.values import decode_answer
from kowalski_jupyter.rlm import events as ev
from kowalski_jupyter.service.config import Kowalski
from kowalski_jupyter.service.request import BadRequestError, RunRequest
from kowalski_jupyter.service.runs import LiveRun
from kowalski_jupyter.service.service import Service, UnknownRunError
from kowalski_jupyter.service.steering import SteeringError, steer
from tests.support.scripted_server import Reply, Request, ScriptedServer

NOTES = {"notes": "one apple\ntwo apples\nno pear\n"}


def block(code: str) -> str:
    return f"Let me see.\n```repl\n{code}\n```"


def packed(root: Path, data: Mapping[str, Any]) -> tuple[DataItem, ...]:
    folder = root / f"pack-{len(list(root.glob('*'))) if root.exists() else 0}"
    folder.mkdir(parents=True)
    return tuple(pack(name, value, folder) for name, value in data.items())


@asynccontextmanager
async def service_on(server: ScriptedServer, tmp_path: Path, **settings: Any) -> AsyncIterator[Service]:
    service = Service(Kowalski(url=server.url, data_root=str(tmp_path / "runs"), spares=0, **settings), host="here")
    try:
        yield service
    finally:
        await service.close()


async def ended(live: LiveRun) -> LiveRun:
    """Wait for a run and for what is cleaned up after it."""
    assert live.task is not None
    await asyncio.gather(live.task, return_exceptions=True)
    return live


async def ask(service: Service, data: Mapping[str, Any] = NOTES, **options: Any) -> LiveRun:
    return await ended(service.start_run(RunRequest("What?", packed(service.data_root, data), options)))


async def resume(service: Service, run_id: str, data: Mapping[str, Any] = NOTES, **how: Any) -> LiveRun:
    return await ended(service.resume(run_id, packed(service.data_root, data), **how))


def value(live: LiveRun) -> Any:
    assert live.answer is not None, live.trace.error
    return decode_answer(live.answer.kind, live.answer.data)


def forget_the_end(own_store: Path, run_id: str, *, after: Callable[[ev.Event], bool]) -> None:
    """Make a stored run one whose process was killed after an event."""
    database = sqlite3.connect(own_store)
    rows = database.execute("SELECT seq, data FROM events WHERE run = ? ORDER BY seq", (run_id,)).fetchall()
    last = next(seq for seq, data in rows if after(ev.from_json(json.loads(data))))  # type: ignore[arg-type]
    database.execute("DELETE FROM events WHERE run = ? AND seq > ?", (run_id, last))
    database.execute("DELETE FROM answers WHERE run = ?", (run_id,))
    database.execute("UPDATE runs SET state = '', writer = '1 0.0 1' WHERE id = ?", (run_id,))
    database.commit()
    database.close()


COUNT = block("kinds = [llm_query(f'fruit of {line}?') for line in notes.splitlines()]\nprint(kinds)")
FINAL = block("FINAL(kinds.count('apple'))")


def is_first(request: Request) -> bool:
    """Whether this asks for a run's first turn: later ones end with an output."""
    return "Reply with one" in request.last("user")


def fruit(request: Request) -> str:
    """Answers sub-calls with a fruit, and the root with two turns."""
    if found := re.match(r"fruit of (.*)\?", request.last("user")):
        return "apple" if "apple" in found[1] else "pear"
    return COUNT if is_first(request) else FINAL


def roots(server: ScriptedServer) -> int:
    return sum(not request.last("user").startswith("fruit of") for request in server.requests)


def test_a_run_of_yesterday_is_shown_as_it_was(tmp_path: Path) -> None:
    async def main(server: ScriptedServer) -> None:
        async with service_on(server, tmp_path) as service:
            first = await ask(service)
            document = first.trace.document()
        async with service_on(server, tmp_path) as service:
            (row,) = service.status()["runs"]
            assert (row["id"], row["state"], row["answer"]) == (first.id, "done", "2")
            again = service.find(first.id)
            assert again.trace.document() == document
            assert value(again) == 2
            followed = [event async for batch in again.log.follow() for event in batch]
            assert isinstance(followed[-1], ev.RunFinished)
            assert [type(e) for e in service.record(first.id)] == [type(e) for e in followed]
            assert service.export(first.id, "jsonl").count(b"\n") == 3
            assert b"kinds.count" in service.export(first.id, "notebook")
            await service.cancel(first.id)
            with pytest.raises(UnknownRunError, match="%rlm runs"):
                service.find("r-none")

    with ScriptedServer([COUNT, "apple", "apple", "pear", FINAL]) as server:
        asyncio.run(main(server))


@pytest.mark.parametrize(
    ("after", "paid"),
    [
        (lambda e: isinstance(e, ev.TurnStarted), 2 + 3),
        (lambda e: isinstance(e, ev.SubcallFinished) and e.call == 2, 1 + 1),
        (lambda e: isinstance(e, ev.CellFinished), 1),
        (lambda e: isinstance(e, ev.ReplyFinished) and e.turn == 2, 0),
    ],
    ids=["before the first reply", "amid sub-calls", "between turns", "before the last cell"],
)
def test_a_broken_off_run_goes_on_and_pays_for_nothing_twice(
    tmp_path: Path, own_store: Path, after: Callable[[ev.Event], bool], paid: int
) -> None:
    async def main(server: ScriptedServer) -> None:
        async with service_on(server, tmp_path) as service:
            first = await ask(service)
        forget_the_end(own_store, first.id, after=after)
        async with service_on(server, tmp_path) as service:
            (row,) = service.status()["runs"]
            assert (row["state"], row["resumable"]) == ("failed", True)
            assert row["error"] == service.find(first.id).trace.document()["error"]
            assert f"%rlm resume {first.id}" in row["error"]
            asked = len(server.requests)
            second = await resume(service, first.id)
            assert value(second) == 2
            assert len(server.requests) - asked == paid
            started = second.log.events[0]
            assert isinstance(started, ev.RunStarted)
            assert started.origin == first.id
        assert not list((tmp_path / "runs").glob("*/*"))

    with ScriptedServer(fruit) as server:
        asyncio.run(main(server))


def test_a_cancelled_run_and_one_at_its_limit_go_on(tmp_path: Path) -> None:
    async def main(server: ScriptedServer) -> None:
        async with service_on(server, tmp_path) as service:
            first = await ask(service, max_turns=1)
            assert first.trace.state == "failed"
            second = await resume(service, first.id, options={"max_turns": 5})
            assert value(second) == 2
            assert roots(server) == 2

    with ScriptedServer(fruit) as server:
        asyncio.run(main(server))


def test_a_resumed_run_that_is_broken_off_has_lost_nothing_either(tmp_path: Path, own_store: Path) -> None:
    async def main(server: ScriptedServer) -> None:
        async with service_on(server, tmp_path) as service:
            first = await ask(service)
        forget_the_end(own_store, first.id, after=lambda e: isinstance(e, ev.Feedback))
        async with service_on(server, tmp_path) as service:
            second = await resume(service, first.id)
        forget_the_end(own_store, second.id, after=lambda e: isinstance(e, ev.TurnStarted))
        async with service_on(server, tmp_path) as service:
            asked = len(server.requests)
            third = await resume(service, second.id)
            assert value(third) == 2
            assert len(server.requests) - asked == 1

    with ScriptedServer(fruit) as server:
        asyncio.run(main(server))


def test_a_turn_can_be_edited_and_the_run_goes_on_from_there(tmp_path: Path) -> None:
    async def main(server: ScriptedServer) -> None:
        async with service_on(server, tmp_path) as service:
            first = await ask(service)
            asked = len(server.requests)
            edited = block("FINAL(kinds.count('pear'))")
            second = await resume(service, first.id, turn=2, reply=edited)
            assert value(second) == 1
            assert len(server.requests) == asked
            third = await resume(service, first.id, turn=2)
            assert value(third) == 2
            assert len(server.requests) == asked + 1

    with ScriptedServer(fruit) as server:
        asyncio.run(main(server))


def test_what_cannot_go_on_says_why_and_leaves_no_data(tmp_path: Path) -> None:
    async def main(server: ScriptedServer) -> None:
        async with service_on(server, tmp_path) as service:
            first = await ask(service)
            direct = await ask(service, {})
            server.script = lambda _: Reply(status=400)
            failed = await ask(service)
            for run, data, how, said in (
                (first.id, NOTES, {}, "has its answer"),
                (first.id, NOTES, {"turn": 7}, "turns 1 to 2"),
                (first.id, NOTES, {"reply": "x"}, "which turn"),
                (first.id, {"other": 1}, {"turn": 1}, "was about notes"),
                (direct.id, {}, {}, "Ask it again"),
                (failed.id, NOTES, {"turn": 1}, "has no reply"),
            ):
                with pytest.raises(BadRequestError, match=said):
                    await resume(service, run, data, **how)  # type: ignore[arg-type]
            with pytest.raises(UnknownRunError):
                await resume(service, "r-none")
        assert not list((tmp_path / "runs").glob("*/*"))

    with ScriptedServer(fruit) as server:
        asyncio.run(main(server))


def test_other_data_is_told(tmp_path: Path) -> None:
    async def main(server: ScriptedServer) -> None:
        async with service_on(server, tmp_path) as service:
            first = await ask(service, max_turns=1)
            second = await resume(service, first.id, {"notes": "one apple"}, options={"max_turns": 5})
            assert value(second) == 1
            assert any("notes is not what it was" in text for text in second.trace.document()["notices"])

    with ScriptedServer(fruit) as server:
        asyncio.run(main(server))


def test_notes_and_decisions_of_the_user_are_part_of_what_goes_on(tmp_path: Path) -> None:
    async def main(server: ScriptedServer) -> None:
        async with service_on(server, tmp_path) as service:
            live = service.start_run(RunRequest("What?", packed(service.data_root, NOTES), {"step": True}))
            async for batch in live.log.follow():
                for event in batch:
                    if isinstance(event, ev.ApprovalAsked) and event.turn == 1:
                        live.run.steering.tell("Pears count twice.")  # type: ignore[union-attr]
                        live.run.steering.decide(event.cell, "edit", "kinds = ['apple'] * 7")  # type: ignore[union-attr]
                    elif isinstance(event, ev.ApprovalAsked):
                        live.cancel()
            await ended(live)
            second = service.resume(live.id, packed(service.data_root, NOTES))
            async for batch in second.log.follow():
                for event in batch:
                    if isinstance(event, ev.ApprovalAsked) and event.turn == 2:
                        second.run.steering.decide(event.cell, "run")  # type: ignore[union-attr]
            await ended(second)
            assert value(second) == 7
            assert "Pears count twice." in server.requests[-1].last("user")

    with ScriptedServer(fruit) as server:
        asyncio.run(main(server))


def three_turns(request: Request) -> str:
    turn = sum("Let me see." in str(message["content"]) for message in request.messages)
    return block(["a = 1", "b = 2", "FINAL([a, b])"][min(turn, 2)])


async def cancelled_at(live: LiveRun, place: Callable[[ev.Event], bool]) -> LiveRun:
    """Let a run in steps go on until it comes to a place; in turn 2 the user tells it something and edits the block."""
    async for batch in live.log.follow():
        for event in batch:
            if place(event):
                live.cancel()
            elif waits(live, event) == "2.1":
                live.run.steering.tell("Pears count twice.")  # type: ignore[union-attr]
                live.run.steering.decide("2.1", "edit", "b = 77")  # type: ignore[union-attr]
            elif cell := waits(live, event):
                live.run.steering.decide(cell, "run")  # type: ignore[union-attr]
    return await ended(live)


def waits(live: LiveRun, event: ev.Event) -> str:
    """Return the cell whose block waits for the user's word since this event, "" if none does."""
    decided = {event.cell for event in live.log.events if isinstance(event, ev.ApprovalGiven)}
    return event.cell if isinstance(event, ev.ApprovalAsked) and event.cell not in decided else ""


def test_notes_and_decisions_outlive_a_resumed_run_that_did_not_get_that_far(tmp_path: Path) -> None:
    async def main(server: ScriptedServer) -> None:
        async with service_on(server, tmp_path) as service:
            first = service.start_run(RunRequest("What?", packed(service.data_root, NOTES), {"step": True}))
            await cancelled_at(first, lambda e: isinstance(e, ev.ApprovalAsked) and e.turn == 3)
            second = service.resume(first.id, packed(service.data_root, NOTES))
            await cancelled_at(second, lambda e: isinstance(e, ev.CellStarted) and e.turn == 1)
            third = service.resume(second.id, packed(service.data_root, NOTES))
            asked = []
            async for batch in third.log.follow():
                for event in batch:
                    if cell := waits(third, event):
                        asked.append(cell)
                        third.run.steering.decide(cell, "run")  # type: ignore[union-attr]
            await ended(third)
            assert asked == ["3.1"]
            assert value(third) == [1, 77]
            assert [event.text for event in third.log.events if isinstance(event, ev.Told)] == ["Pears count twice."]

    with ScriptedServer(three_turns) as server:
        asyncio.run(main(server))


def test_replies_of_other_runs_count_only_where_the_user_wants_it(tmp_path: Path) -> None:
    async def main(server: ScriptedServer) -> None:
        counts = []
        for options in ({}, {}, {"reuse": True}, {"reuse": True, "fresh": True}):
            async with service_on(server, tmp_path) as service:
                before = len(server.requests)
                assert value(await ask(service, **options)) == 2
                counts.append(len(server.requests) - before)
        assert counts == [5, 5, 2, 5]

    with ScriptedServer(fruit) as server:
        asyncio.run(main(server))


CHILD = block("FINAL(len(context))")
PARENT = block("parts = rlm_query_batched(['How long is this?'] * 3, ['a', 'bb', 'ccc'])\nprint(parts)")


def family(request: Request) -> Reply | str:
    if "Question: How long is this?" in str(request.messages):
        return CHILD
    return PARENT if is_first(request) else block("FINAL(sum(parts))")


TWO = ("scripted", "scripted-2")


def other_model(request: Request) -> Reply | str:
    """A child run whose root is a model of its own, and a sub-call of that model's."""
    if "Question: How long is this?" in str(request.messages):
        assert request.payload["model"] == "scripted-2"
        return block("FINAL(len(context) + int(llm_query('Two?', model='scripted-2')))")
    if request.last("user") == "Two?":
        assert request.payload["model"] == "scripted-2"
        return "2"
    if not is_first(request):
        return block("FINAL(part + int(llm_query('Two?', model='scripted-2')))")
    return block("part = rlm_query('How long is this?', 'abc', model='scripted-2')\nprint(part)")


def test_a_child_run_with_a_model_of_its_own_is_not_paid_for_twice(tmp_path: Path, own_store: Path) -> None:
    async def main(server: ScriptedServer) -> None:
        async with service_on(server, tmp_path, depth=2, model="scripted") as service:
            first = await ask(service)
            assert value(first) == 7
            asked = len(server.requests)
        forget_the_end(own_store, first.id, after=lambda e: isinstance(e, ev.SubcallFinished))
        async with service_on(server, tmp_path, depth=2, model="scripted") as service:
            second = await resume(service, first.id)
            assert value(second) == 7
            assert [request.payload["model"] for request in server.requests[asked:]] == ["scripted"]

    with ScriptedServer(other_model, models=TWO) as server:
        asyncio.run(main(server))


def test_child_runs_are_kept_and_not_paid_for_twice(tmp_path: Path, own_store: Path) -> None:
    async def main(server: ScriptedServer) -> None:
        async with service_on(server, tmp_path, depth=2) as service:
            first = await ask(service)
            assert value(first) == 6
            asked = len(server.requests)
        forget_the_end(own_store, first.id, after=lambda e: isinstance(e, ev.SubcallFinished))
        async with service_on(server, tmp_path, depth=2) as service:
            assert [row["id"] for row in service.status()["runs"]] == [first.id]
            child = service.find(f"{first.id}-2")
            assert child.trace.state == "done"
            with pytest.raises(BadRequestError, match=first.id):
                await resume(service, child.id, {"context": "bb"}, turn=1)
            second = await resume(service, first.id)
            assert value(second) == 6
            assert len(server.requests) - asked == 1

    with ScriptedServer(family) as server:
        asyncio.run(main(server))


def test_a_full_store_stops_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KOWALSKI_STORE", str(tmp_path / "file" / "runs.sqlite"))

    async def main(server: ScriptedServer) -> None:
        async with service_on(server, tmp_path) as service:
            first = await ask(service)
            assert value(first) == 2
            notices = first.trace.document()["notices"]
            assert sum("not stored" in text for text in notices) == 1

    with ScriptedServer(fruit) as server:
        asyncio.run(main(server))


def test_a_run_of_another_process_can_be_followed_to_its_end(tmp_path: Path) -> None:
    async def main(server: ScriptedServer) -> None:
        async with service_on(server, tmp_path) as writer, service_on(server, tmp_path) as reader:
            live = writer.start_run(RunRequest("What?", packed(tmp_path / "runs", NOTES)))
            async for batch in live.log.follow():
                if any(isinstance(event, ev.CellStarted) for event in batch):
                    break
            (row,) = reader.status()["runs"]
            assert row["state"] in ("starting", "running")
            seen = reader.find(live.id)
            with pytest.raises(BadRequestError, match="another process"):
                await reader.cancel(live.id)
            with pytest.raises(BadRequestError, match="another process"):
                await resume(reader, live.id)
            with pytest.raises(SteeringError, match="another process: do it there"):
                steer(seen, b'{"tell": "Hello"}')
            async for _ in seen.log.follow():
                pass
            await ended(live)
            assert value(seen) == 2
            assert seen.trace.document() == live.trace.document()

    with ScriptedServer(lambda request: Reply(fruit(request), delay=0.2)) as server:
        asyncio.run(main(server))
