"""Replays: the same answer without a model, or a clear difference."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kowalski_jupyter.models.base import Delta, Message, ModelError, Sampling, Usage
from kowalski_jupyter.models.scripted import ScriptedModel
from kowalski_jupyter.rlm import events as ev
from kowalski_jupyter.rlm.chat.folding import _ASK
from kowalski_jupyter.rlm.course import COURSE, Course
from kowalski_jupyter.rlm.record import Record, RecordedReply, branch
from kowalski_jupyter.rlm.replay import RecordedModel, SilentModel
from kowalski_jupyter.service.request import RunRequest
from kowalski_jupyter.service.service import UnknownRunError
from tests.service.test_resume import (
    NOTES,
    TWO,
    ask,
    block,
    ended,
    family,
    fruit,
    other_model,
    packed,
    service_on,
    value,
)
from tests.support.scripted_server import Reply, Request, ScriptedServer

QUESTION = (Message("system", "Be brief."), Message("user", "Question: What?"))


def recorded(*replies: RecordedReply, then: ScriptedModel | None = None) -> RecordedModel:
    """The root model of a run that said this."""
    COURSE.set(Course(replies=[*replies]))
    return RecordedModel(then=then, name="m", ended=lambda: "It ends here.")


async def said(model: RecordedModel | SilentModel, messages: tuple[Message, ...] = QUESTION) -> list[Delta]:
    return [delta async for delta in model.stream(messages, Sampling())]


def test_a_recorded_model_says_what_it_said_and_then_the_real_one_goes_on() -> None:
    async def main() -> None:
        usage = Usage(10, 2)
        real = ScriptedModel(["third"], context_tokens=99)
        model = recorded(RecordedReply(1, "first", "hm", "length", usage), RecordedReply(2, "second"), then=real)
        assert await said(model) == [
            Delta(reasoning="hm"),
            Delta("first"),
            Delta(finish_reason="length", usage=usage),
        ]
        assert (await said(model))[0].text == "second"
        assert "".join(delta.text for delta in await said(model)) == "third"
        assert (model.name, model.context_tokens, len(real.requests)) == ("scripted", 99, 1)

    asyncio.run(main())


def test_where_the_record_ends_a_replay_ends() -> None:
    async def main() -> None:
        with pytest.raises(ModelError, match="It ends here"):
            await said(recorded())

    asyncio.run(main())


def test_a_fold_is_answered_by_the_recorded_summary_and_passed_over_where_none_is_asked_for() -> None:
    async def main() -> None:
        replies = (RecordedReply(1, "one"), RecordedReply(2, "sum", fold=True), RecordedReply(2, "two"))
        fold = (*QUESTION, Message("user", f"shown\n\n{_ASK}"))
        model = recorded(*replies)
        assert [(await said(model, chat))[0].text for chat in (QUESTION, fold, QUESTION)] == ["one", "sum", "two"]
        model = recorded(*replies)
        with pytest.raises(ModelError):
            await said(model, fold)
        assert [(await said(model))[0].text for _ in range(2)] == ["one", "two"]

    asyncio.run(main())


def test_a_silent_model_says_what_the_record_has_no_reply_to() -> None:
    with pytest.raises(ModelError, match="no reply to this prompt: q"):
        asyncio.run(said(SilentModel("m"), (Message("user", "q"),)))


def test_a_branch_keeps_what_came_before_its_turn() -> None:
    replies = [RecordedReply(1, "a"), RecordedReply(2, "sum", fold=True), RecordedReply(2, "b"), RecordedReply(3, "c")]
    assert [reply.text for reply in branch(replies, 2, "new")] == ["a", "sum", "new"]
    assert [reply.text for reply in branch(replies, 2, None)] == ["a", "sum"]


def test_a_record_needs_its_beginning() -> None:
    with pytest.raises(ValueError, match="no beginning"):
        Record([ev.TurnStarted(1)])


@pytest.mark.parametrize("script", [fruit, family, other_model])
def test_the_answer_is_the_same_without_any_request(tmp_path: Path, script: object) -> None:
    async def main(server: ScriptedServer) -> None:
        async with service_on(server, tmp_path, depth=2, model="scripted") as service:
            first = await ask(service)
            asked = len(server.requests)
        async with service_on(server, tmp_path, depth=2, model="scripted") as service:
            live = await ended(service.replay(first.id, packed(service.data_root, NOTES)))
            assert live.trace.state == "done"
            assert value(live) == value(first)
            report = service.replay_report(live.id)
            assert report["same"]
            assert report["cells"] == []
            assert not any("recorded" in text for text in live.trace.document()["notices"])
            assert len(server.requests) == asked
            with pytest.raises(UnknownRunError):
                service.replay_report(first.id)

    with ScriptedServer(script, models=TWO) as server:  # type: ignore[arg-type]
        asyncio.run(main(server))


def test_a_plain_question_is_replayed_too(tmp_path: Path) -> None:
    async def main(server: ScriptedServer) -> None:
        async with service_on(server, tmp_path) as service:
            first = await ask(service, {})
            live = await ended(service.replay(first.id, ()))
            assert value(live) == "Hello."
            assert len(server.requests) == 1

    with ScriptedServer(["Hello.", "Other."]) as server:
        asyncio.run(main(server))


def test_another_answer_is_told_with_its_difference(tmp_path: Path) -> None:
    async def main(server: ScriptedServer) -> None:
        async with service_on(server, tmp_path) as service:
            first = await ask(service)
            live = await ended(service.replay(first.id, packed(service.data_root, {"notes": "one apple\nno pear\n"})))
            report = service.replay_report(live.id)
            assert not report["same"]
            assert (report["answer"]["recorded"], report["answer"]["replayed"]) == ("2", "1")
            assert "-2\n+1" in report["answer"]["diff"]
            assert [cell["cell"] for cell in report["cells"]] == ["1.1"]
            notices = "\n".join(live.trace.document()["notices"])
            assert "The answer is not the recorded one" in notices
            assert "Cell 1.1 went another way" in notices

    with ScriptedServer(fruit) as server:
        asyncio.run(main(server))


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("try:\n    llm_query('p')\nexcept Exception as e:\n    FINAL(str(e))", "it is full"),
        ("FINAL(str(llm_query_batched(['q'], schema={'type': 'integer'})[0]))", "the reply is not JSON"),
        ("FINAL([*map(str, map_query(['p'], '{item}')), tree_reduce(['p', 'q'], 'Sum.')])", "it is full"),
    ],
)
def test_failures_of_sub_calls_are_replayed(tmp_path: Path, code: str, error: str) -> None:

    async def main(server: ScriptedServer) -> None:
        async with service_on(server, tmp_path) as service:
            first = await ask(service)
            assert error in str(value(first))
            live = await ended(service.replay(first.id, packed(service.data_root, NOTES)))
            assert value(live) == value(first)
            assert service.replay_report(live.id)["same"]

    def script(request: Request) -> Reply | str:
        if request.last("user") == "p" or "--- Text 2 of 2 ---\nq" in request.last("user"):
            return Reply("", status=400, error="it is full")
        return block(code) if request.last("system") else "short"

    with ScriptedServer(script) as server:
        asyncio.run(main(server))


def test_a_run_without_an_answer_is_replayed_to_its_end(tmp_path: Path) -> None:
    async def main(server: ScriptedServer) -> None:
        async with service_on(server, tmp_path) as service:
            first = await ask(service, max_turns=1)
            live = await ended(service.replay(first.id, packed(service.data_root, NOTES)))
            assert live.trace.state == first.trace.state == "failed"
            assert live.trace.error == first.trace.error.replace(first.id, live.id)
            assert service.replay_report(live.id)["same"]

    with ScriptedServer(fruit) as server:
        asyncio.run(main(server))


def test_a_replay_that_goes_another_way_says_where_and_what_can_be_done(tmp_path: Path) -> None:
    code = "print('none') if 'no pear' in notes else FINAL(1)"

    async def main(server: ScriptedServer) -> None:
        async with service_on(server, tmp_path) as service:
            first = await ask(service, {"notes": "a pear"})
            live = await ended(service.replay(first.id, packed(service.data_root, NOTES)))
            assert live.trace.state == "failed"
            assert "Cell 1.1 went another way than recorded" in live.trace.error
            assert f"`%rlm resume {first.id} --turn 1`" in live.trace.error

    with ScriptedServer([block(code)]) as server:
        asyncio.run(main(server))


def test_a_run_that_ended_while_a_block_waited_for_a_word_is_replayed_to_there(tmp_path: Path) -> None:
    async def main(server: ScriptedServer) -> None:
        async with service_on(server, tmp_path) as service:
            first = service.start_run(RunRequest("What?", packed(service.data_root, NOTES), {"step": True}))
            async for batch in first.log.follow():
                if any(isinstance(event, ev.ApprovalAsked) for event in batch):
                    first.cancel()
            await ended(first)
            async with asyncio.timeout(60):
                live = await ended(service.replay(first.id, packed(service.data_root, NOTES)))
            assert live.trace.state == "failed"
            assert f"`%rlm resume {first.id}`" in live.trace.error
            assert len(server.requests) == 1

    with ScriptedServer(fruit) as server:
        asyncio.run(main(server))
