"""Rules of the user's model class that its JSON Schema does not tell: the run hears of them before it ends."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest

from kowalski_jupyter import RLM, RlmError
from kowalski_jupyter.rlm.events import AnswerJudged, AnswerOffered, ApprovalGiven, RunFinished, RunStarted
from tests.service.conftest import Desk
from tests.support.scripted_server import ScriptedServer

pydantic = pytest.importorskip("pydantic")

Serve = Callable[..., Desk]


class Even(pydantic.BaseModel):  # type: ignore[misc, name-defined]
    """A number with a rule that no JSON Schema can tell."""

    n: int

    @pydantic.field_validator("n")
    @classmethod
    def check(cls, n: int) -> int:
        if n == 13:
            raise KeyError("thirteen")
        if n % 2:
            raise ValueError(f"{n} is\nodd")
        return n


def block(code: str) -> str:
    return f"Let me see.\n```repl\n{code}\n```"


ODD_THEN_EVEN = [block("FINAL({'n': 3})"), block("FINAL({'n': 4})")]


def judged(rlm: RLM, run: str) -> list[str]:
    return [event.error for event in rlm.events(run) if isinstance(event, AnswerJudged)]


# -- the ways to ask -------------------------------------------------------------------------------------


def by_run(rlm: RLM) -> Any:
    return rlm.run("How many?", "x").value


def by_arun(rlm: RLM) -> Any:
    return asyncio.run(rlm.arun("How many?", "x")).value


def by_stream(rlm: RLM) -> Any:
    async def read() -> str:
        (started,) = [event async for event in rlm.stream("How many?", "x") if isinstance(event, RunStarted)]
        return started.run

    return rlm.attach(asyncio.run(read())).value


def by_batch(rlm: RLM) -> Any:
    return rlm.batch([("How many?", "x")]).values[0]


@pytest.mark.parametrize("ask", [by_run, by_arun, by_stream, by_batch])
def test_what_only_the_class_refuses_goes_back_to_the_model(serve: Serve, ask: Callable[[RLM], Any]) -> None:
    with ScriptedServer(ODD_THEN_EVEN) as server:
        serve(server)
        with RLM(schema=Even) as rlm:
            value = ask(rlm)
        told = server.requests[1].last("user")

    assert value == Even(n=4)
    assert "The answer was not taken: 1 validation error for Even n Value error, 3 is odd" in told
    assert "Mend it and call FINAL again.\n\nLeft: 19 turns" in told
    assert "Output: nothing" not in told
    assert "errors.pydantic.dev" not in told
    assert len(server.requests) == 2


def test_a_question_without_data_is_asked_again_too(serve: Serve) -> None:
    with ScriptedServer(['{"n": 3}', '{"n": 4}']) as server:
        serve(server)
        with RLM(schema=Even) as rlm:
            value = rlm.run("How many?").value
        told = server.requests[1].last("user")

    assert value == Even(n=4)
    assert "3 is odd" in told


# -- the ways to answer ------------------------------------------------------------------------------------


def test_an_answer_as_text_is_judged(serve: Serve) -> None:
    with ScriptedServer(["FINAL({'n': 3})", "FINAL({'n': 4})"]) as server:
        serve(server)
        with RLM(schema=Even) as rlm:
            assert rlm.run("How many?", "x").value == Even(n=4)


@pytest.mark.parametrize("more", ["", "\nFINAL(answer['content'])"])
def test_an_answer_that_was_set_ready_has_to_be_set_ready_again(serve: Serve, more: str) -> None:
    script = [
        block(f"answer['content'] = {{'n': 3}}\nanswer['ready'] = True{more}"),
        block("print(answer['ready'])"),
        block("answer['content'] = {'n': 4}"),
        block("answer['ready'] = True"),
    ]
    with ScriptedServer(script) as server:
        serve(server)
        with RLM(schema=Even) as rlm:
            result = rlm.run("How many?", "x")
            errors = judged(rlm, result.run)
        told = [request.last("user") for request in server.requests]

    assert result.value == Even(n=4)
    assert "3 is odd" in told[1]
    assert "Output:\nFalse" in told[2]
    assert [bool(error) for error in errors] == [True, False]
    assert [cell["state"] for turn in result.document["turns"] for cell in turn["parts"] if cell["kind"] == "cell"] == [
        "final",
        "ok",
        "ok",
        "final",
    ]


def test_blocks_are_asked_about_and_the_answer_is_judged(serve: Serve) -> None:
    with ScriptedServer(ODD_THEN_EVEN) as server:
        serve(server)
        with RLM(schema=Even, step=lambda _, code: code.replace("3", "5")) as rlm:
            result = rlm.run("How many?", "x")
            words = [event for event in rlm.events(result.run) if isinstance(event, ApprovalGiven | AnswerJudged)]

    assert result.value == Even(n=4)
    assert [event.type for event in words] == ["approval_given", "answer_judged"] * 2
    assert "5 is odd" in str(words[1])


def test_the_time_that_a_validator_takes_is_not_the_runs(serve: Serve) -> None:
    class Slow(Even):
        @pydantic.model_validator(mode="after")
        def wait(self) -> Slow:
            time.sleep(0.5)
            return self

    with ScriptedServer([block("FINAL({'n': 4})")]) as server:
        serve(server)
        with RLM(schema=Slow) as rlm:
            events = rlm.events(rlm.run("How many?", "x").run)

    assert isinstance(events[-1], RunFinished)
    assert events[-1].seconds < events[-1].time - events[0].time - 0.4


# -- no answer ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "data"),
    [
        ([block("FINAL({'n': 3})")], ["x"]),
        ([block("FINAL({'n': 3})"), block("1")], ["x"]),
        (['{"n": 3}'], []),
    ],
)
def test_an_answer_that_was_not_taken_is_the_best_at_a_limit(serve: Serve, script: list[str], data: list[str]) -> None:
    with ScriptedServer(script) as server:
        serve(server)
        with RLM(schema=Even, max_turns=2) as rlm, pytest.raises(RlmError, match="limit of turns") as caught:
            rlm.run("How many?", *data)

    assert caught.value.partial == {"n": 3}
    assert caught.value.document is not None
    assert "The answer was sent back to the model: 1 validation error" in str(caught.value.document["notices"])


def test_answers_that_are_not_taken_count_as_failed_turns(serve: Serve) -> None:
    with ScriptedServer([block(f"FINAL({{'n': {2 * turn + 1}}})") for turn in range(20, 40)]) as server:
        serve(server)
        with RLM(schema=Even) as rlm, pytest.raises(RlmError, match="failed turns in a row"):
            rlm.run("How many?", "x")


def test_another_error_of_a_validator_is_the_users_as_ever(serve: Serve) -> None:
    with ScriptedServer([block("FINAL({'n': 13})")]) as server:
        serve(server)
        with RLM(schema=Even) as rlm, pytest.raises(KeyError, match="thirteen"):
            rlm.run("How many?", "x")
        assert len(server.requests) == 1


# -- again -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", [None, Even])
def test_a_replay_knows_what_was_said_of_each_answer(serve: Serve, schema: type | None) -> None:
    with ScriptedServer(ODD_THEN_EVEN) as server:
        serve(server)
        with RLM(schema=Even) as rlm:
            first = rlm.run("How many?", "x")
        with RLM(schema=schema) as rlm:
            second = rlm.replay(first.run, {"context": "x"})
            third = rlm.replay(second.run, {"context": "x"})
            assert judged(rlm, second.run) == judged(rlm, third.run) == judged(rlm, first.run)
        assert len(server.requests) == 2

    assert second.text == third.text == first.text
    assert second.document["notices"] == third.document["notices"] == first.document["notices"]


def test_a_replay_ends_at_the_same_limit_with_the_same_answer(serve: Serve) -> None:
    with ScriptedServer([block("FINAL({'n': 3})")]) as server:
        serve(server)
        with RLM(schema=Even, max_turns=1) as rlm:
            with pytest.raises(RlmError) as caught:
                rlm.run("How many?", "x")
            document = caught.value.document
            assert document is not None
            with pytest.raises(RlmError, match="limit of turns") as caught:
                rlm.replay(document["id"], {"context": "x"})

    assert caught.value.partial == {"n": 3}


def test_a_run_that_goes_on_is_judged_by_who_is_there(serve: Serve) -> None:
    script = [block("FINAL({'n': 3})"), block("FINAL({'n': 5})"), block("FINAL({'n': 7})"), block("FINAL({'n': 8})")]
    with ScriptedServer(script) as server:
        serve(server)
        with RLM(schema=Even, max_turns=1) as rlm, pytest.raises(RlmError) as caught:
            rlm.run("How many?", "x")
        document = caught.value.document
        assert document is not None
        with RLM(max_turns=5) as rlm:
            alone = rlm.resume(document["id"], {"context": "x"})
            assert ["odd" in error for error in judged(rlm, alone.run)] == [True, False]
        with RLM(schema=Even, max_turns=5) as rlm:
            value = rlm.resume(document["id"], {"context": "x"}).value
            anew = rlm.resume(document["id"], {"context": "x"}, turn=1)
            assert judged(rlm, anew.run) == [""]

    assert alone.value == {"n": 5}
    assert value == anew.value == Even(n=8)


def test_a_run_that_ended_while_its_answer_waited_is_replayed_to_the_answer(serve: Serve) -> None:
    async def leave() -> str:
        run = ""
        async with aclosing(rlm.stream("How many?", "x")) as events:
            async for event in events:
                run = event.run if isinstance(event, RunStarted) else run
                if isinstance(event, AnswerOffered):
                    assert json.loads(event.data) == {"n": 3}
                    break
        return run

    with ScriptedServer(ODD_THEN_EVEN) as server:
        desk = serve(server)
        with RLM(schema=Even) as rlm:
            run = asyncio.run(leave())
            assert desk.client.ended(run, within=30)["state"] == "cancelled"
        with RLM() as rlm:
            assert rlm.replay(run, {"context": "x"}).value == {"n": 3}


def test_a_notebook_of_a_run_ends_with_the_answer_that_was_taken(serve: Serve) -> None:
    with ScriptedServer(ODD_THEN_EVEN) as server:
        serve(server)
        with RLM(schema=Even) as rlm:
            book = json.loads(rlm.export(rlm.run("How many?", "x").run, "notebook"))
    names: dict[str, Any] = {"context": "x", "__name__": "book"}
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)  # noqa: S102

    assert names["answer"] == {"n": 4}
