"""`RLM` through a real service in a thread, with real child kernels and a scripted model."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import pickle
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from kowalski_jupyter import RLM, Result, RlmError
from kowalski_jupyter.api.bundle import MIME_TYPE
from kowalski_jupyter.api.progress import Progress
from kowalski_jupyter.rlm.events import (
    ApprovalAsked,
    ApprovalGiven,
    CellStarted,
    LimitsRaised,
    RunFinished,
    SubcallStarted,
)
from tests.service.conftest import Desk, until
from tests.support.scripted_server import Reply, Request, ScriptedServer

Serve = Callable[..., Desk]
SLOW = Reply("word " * 3000, token_delay=0.02)


def block(code: str) -> str:
    return f"Let me see.\n```repl\n{code}\n```"


def by_question(request: Request) -> Reply | str:
    """Answer with what the question asks for, whatever else the chat says."""
    said = " ".join(str(message["content"]) for message in request.messages[-3:])
    if "slow" in said:
        return SLOW
    return block("1 / 0") if "fail" in said else block("FINAL(len(context))")


def states(desk: Desk) -> list[str]:
    return [run["state"] for run in desk.client.status()["runs"]]


# -- one run -------------------------------------------------------------------------------------------


def test_the_context_is_a_value_and_so_is_the_answer(serve: Serve) -> None:
    seen: list[str] = []
    with ScriptedServer([block("FINAL({'n': len(context), 'k': limit})")]) as server:
        serve(server)
        with RLM(seed=3, on_update=lambda document: seen.append(document["state"])) as rlm:
            result = rlm.run("How long?", "x" * 500, limit=7)
        seed = server.requests[0].payload["seed"]

    assert result.value == {"n": 500, "k": 7}
    assert result.text == "{'n': 500, 'k': 7}"
    assert result.usage["turns"] == 1
    assert result.seconds > 0
    assert result.run == result.document["id"]
    assert set(result._repr_mimebundle_()) >= {MIME_TYPE, "text/html", "text/plain"}
    assert seen[-1] == "done"
    assert seed == 3001  # one for each turn


def test_names_of_data_may_be_those_of_the_parameters(serve: Serve) -> None:
    with ScriptedServer([block("FINAL((question, self, data, context))")]) as server:
        serve(server)
        with RLM() as rlm:
            given: dict[str, Any] = {"question": 1, "self": 2, "data": 3, "context": 4}
            assert rlm.run("What?", **given).value == (1, 2, 3, 4)


def test_a_question_alone_is_asked_directly(serve: Serve) -> None:
    with ScriptedServer(["Paris."]) as server:
        serve(server)
        with RLM() as rlm:
            assert rlm.run("What is the capital of France?").value == "Paris."


def test_a_limit_leaves_the_best_that_there_was(serve: Serve) -> None:
    with ScriptedServer([block("print('nearly')")]) as server:
        serve(server)
        with RLM(max_turns=2) as rlm, pytest.raises(RlmError, match=r"limit of turns is reached \(2\)") as caught:
            rlm.run("What?", "x")

    assert "nearly" in caught.value.partial
    assert caught.value.document is not None
    assert caught.value.document["state"] == "failed"


def test_an_error_keeps_what_it_knows_over_a_pickle() -> None:
    error = pickle.loads(pickle.dumps(RlmError("no", partial=[1], document={"id": "r-1"})))  # noqa: S301

    assert (str(error), error.partial, error.document) == ("no", [1], {"id": "r-1"})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_turns": 0}, "max_turns must be a whole number from 1 up, not 0."),
        ({"max_turns": True}, "max_turns must be a whole number"),
        ({"timeout": "long"}, "timeout must be a number of seconds above 0, not 'long'."),
        ({"timeout": float("inf")}, "timeout must be"),
        ({"model": ""}, "model must be a model's id"),
        ({"depth": -1}, "depth must be a whole number"),
        ({"profile": "tiny"}, "profile must be one of small_coder"),
        ({"prompt": "Hello.\n## system\nRules."}, "Put ## system above it."),
        ({"fresh": 1}, "fresh must be True or False"),
        ({"schema": 5}, "not a int"),
        ({"schema": {"type": "strnig"}}, "Not a JSON Schema"),
    ],
)
def test_a_wrong_setting_is_one_line_before_anything_starts(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=r".+") as caught:
        RLM(**settings)

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("question", ["", " \n", None])
def test_a_question_that_says_nothing_is_refused(serve: Serve, question: Any) -> None:
    with ScriptedServer(["x"]) as server:
        serve(server)
        with RLM() as rlm, pytest.raises(RlmError, match="question") as caught:
            rlm.run(question)
        assert not server.requests

    assert caught.value.document is None


def test_a_value_that_cannot_be_passed_is_an_rlm_error(serve: Serve) -> None:
    with ScriptedServer(["x"]) as server:
        serve(server)
        with RLM() as rlm, pytest.raises(RlmError, match="These can"):
            rlm.run("What?", (i for i in ()))


def test_ctrl_c_stops_the_run_and_shows_its_end(serve: Serve) -> None:
    seen: list[str] = []
    with ScriptedServer([SLOW]) as server:
        desk = serve(server)

        def interrupt() -> None:
            server.wait_for(lambda: server.requests)
            until(lambda: states(desk) == ["running"])
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        with RLM(on_update=lambda document: seen.append(document["state"])) as rlm:
            thread.start()
            with pytest.raises(KeyboardInterrupt):
                rlm.run("What?", "x")
        thread.join()
        server.wait_for(lambda: server.requests[0].disconnected)

    assert seen[-1] == "cancelled"


def test_the_service_goes_away(serve: Serve) -> None:
    with ScriptedServer([SLOW]) as server:
        desk = serve(server)

        def close() -> None:
            server.wait_for(lambda: server.requests)
            desk.host.close()

        thread = threading.Thread(target=close)
        with RLM() as rlm:
            thread.start()
            with pytest.raises(RlmError):
                rlm.run("What?", "x")
        thread.join()


# -- typed answers -------------------------------------------------------------------------------------

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def test_an_answer_that_does_not_fit_goes_back_to_the_model(serve: Serve) -> None:
    with ScriptedServer([block("FINAL({'n': 'three'})"), block("FINAL({'n': 3})")]) as server:
        serve(server)
        with RLM(schema=SCHEMA) as rlm:
            result = rlm.run("How many?", "x")
        told = server.requests[1].last("user")

    assert result.value == {"n": 3}
    assert "'three' is not of type 'integer'" in told


def test_a_pydantic_model_gives_an_instance(serve: Serve) -> None:
    pydantic = pytest.importorskip("pydantic")

    class Count(pydantic.BaseModel):  # type: ignore[misc, name-defined]
        n: int

    with ScriptedServer([block("FINAL({'n': 3})")]) as server:
        serve(server)
        with RLM(schema=Count) as rlm:
            value = rlm.run("How many?", "x").value

    assert type(value) is Count
    assert value.n == 3


def test_what_only_the_model_class_refuses_is_an_error_of_a_run_that_went_on_by_itself(serve: Serve) -> None:
    class Even:
        @classmethod
        def model_json_schema(cls) -> dict[str, Any]:
            return SCHEMA

        @classmethod
        def model_validate(cls, value: Any) -> Even:
            raise ValueError(f"{value['n']} is\nodd")

    with ScriptedServer([block("FINAL({'n': 3})")]) as server:
        serve(server)
        with RLM(schema=Even) as rlm, pytest.raises(RlmError, match=r"3 is odd\. .* into the question") as caught:
            rlm.attach(rlm.start("How many?", "x"))
        assert len(server.requests) == 1

    assert caught.value.partial == {"n": 3}


# -- within an event loop --------------------------------------------------------------------------------


def test_run_and_arun_work_within_a_running_loop(serve: Serve) -> None:
    async def main() -> tuple[Any, Any, int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)

        with RLM() as rlm:
            blocking = rlm.run("How long?", "xx").value
            ticking = asyncio.create_task(tick())
            result = await rlm.arun("How long?", "xxx")
            ticking.cancel()
            return blocking, result.value, ticks

    with ScriptedServer([block("FINAL(len(context))")]) as server:
        serve(server)
        blocking, value, ticks = asyncio.run(main())

    assert (blocking, value) == (2, 3)
    assert ticks > 3


def test_cancelling_a_task_stops_its_run(serve: Serve) -> None:
    async def main(server: ScriptedServer) -> None:
        with RLM() as rlm:
            task = asyncio.create_task(rlm.arun("What?", "x"))
            await asyncio.to_thread(server.wait_for, lambda: server.requests)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with ScriptedServer([SLOW]) as server:
        desk = serve(server)
        asyncio.run(main(server))
        server.wait_for(lambda: server.requests[0].disconnected)
        until(lambda: states(desk) == ["cancelled"])


def test_a_stream_gives_every_event_to_the_last(serve: Serve) -> None:
    async def main() -> tuple[list[Any], Result]:
        with RLM() as rlm:
            events = [event async for event in rlm.stream("How long?", "xxx")]
            return events, await asyncio.to_thread(rlm.attach, events[0].run)

    with ScriptedServer([block("FINAL(len(context))")]) as server:
        serve(server)
        events, result = asyncio.run(main())

    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert isinstance(events[-1], RunFinished)
    assert result.value == 3


def test_leaving_a_stream_early_cancels_the_run(serve: Serve) -> None:
    async def main(desk: Desk) -> None:
        with RLM() as rlm:
            async for _ in rlm.stream("What?", "x"):
                break
            gc.collect()
            await asyncio.to_thread(until, lambda: states(desk) == ["cancelled"])

    with ScriptedServer([SLOW]) as server:
        asyncio.run(main(serve(server)))


# -- many runs -------------------------------------------------------------------------------------------


def test_a_batch_keeps_order_and_loses_nothing_to_failures(serve: Serve) -> None:
    progress: list[tuple[int, int]] = []
    threads: set[str] = set()

    def on_progress(now: Progress) -> None:
        progress.append((now.done, now.total))
        assert now.done + now.running + now.queued == now.total
        threads.add(threading.current_thread().name)

    tasks: list[Any] = [
        ("How long?", "x"),
        {"question": "How long?", "context": "xx"},
        ("Please fail.", "xxx"),
        ("How long?", object()),
        17,
        ("How long?", "xxxx"),
    ]
    with ScriptedServer(by_question) as server:
        serve(server)
        with RLM(max_turns=1) as rlm:
            results = rlm.batch(tasks, max_parallel=2, on_progress=on_progress)

    assert [result.value if isinstance(result, Result) else type(result) for result in results] == [
        *(1, 2, RlmError, RlmError, RlmError, 4)
    ]
    assert [str(results[index])[:9] for index in (3, 4)] == ["context i", "A task is"]
    assert progress == [(number, 6) for number in range(1, 7)]
    assert threads == {threading.current_thread().name}


def test_a_batch_runs_as_wide_as_asked_and_no_wider(serve: Serve) -> None:
    with ScriptedServer(lambda _: Reply("Paris.", delay=0.2)) as server:
        serve(server)
        with RLM() as rlm:
            results = rlm.batch(["Where?"] * 7, max_parallel=3)
        assert server.max_in_flight == 3

    assert [result.value for result in results if isinstance(result, Result)] == ["Paris."] * 7


def test_an_empty_batch_is_empty() -> None:
    with RLM() as rlm:
        assert list(rlm.batch([])) == []
        for width in (0, "2"):
            with pytest.raises(ValueError, match="max_parallel must be a whole number"):
                rlm.batch([], max_parallel=width)  # type: ignore[arg-type]


def test_tasks_of_higher_priority_are_begun_first(serve: Serve) -> None:
    with ScriptedServer(lambda _: "yes") as server:
        serve(server)
        with RLM() as rlm:
            results = rlm.batch(["a?", "b?", "c?", "d?"], max_parallel=1, priorities=[0, 2, 1, 2])
            with pytest.raises(ValueError, match="4 tasks and 1 priorities"):
                rlm.batch(["a?", "b?", "c?", "d?"], priorities=[1])
        asked = [request.payload["messages"][-1]["content"] for request in server.requests]

    assert asked == ["b?", "d?", "c?", "a?"]
    assert results.values == ["yes"] * 4


def test_a_named_batch_asks_only_for_what_is_missing(serve: Serve) -> None:
    with ScriptedServer(lambda _: "yes") as server:
        serve(server)
        with RLM() as rlm:
            first = rlm.batch(["a?", "b?"], name="letters")
            again = rlm.batch(["a?", "changed?", "c?"], name="letters")
        asked = [request.payload["messages"][-1]["content"] for request in server.requests]

    assert sorted(asked) == ["a?", "b?", "c?", "changed?"]
    assert again.values == ["yes"] * 3
    assert isinstance(first[0], Result)
    assert isinstance(again[0], Result)
    assert first[0].run == again[0].run


def test_one_ctrl_c_lets_a_batch_finish_what_runs(serve: Serve) -> None:
    seen: list[Progress] = []
    with ScriptedServer(lambda _: Reply("yes", delay=1.0)) as server:
        serve(server)

        def interrupt() -> None:
            server.wait_for(lambda: server.in_flight == 2)
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        with RLM() as rlm:
            thread.start()
            with pytest.raises(KeyboardInterrupt):
                rlm.batch(
                    [f"{number}?" for number in range(20)], max_parallel=2, name="stopped", on_progress=seen.append
                )
            thread.join()
            assert [now.done for now in seen] == [0, 1, 2]
            assert all(now.stopping for now in seen)
            assert len(server.requests) == 2
            assert (
                rlm.batch([f"{number}?" for number in range(20)], max_parallel=20, name="stopped").values
                == ["yes"] * 20
            )
        assert len(server.requests) == 20


def test_ctrl_c_twice_stops_all_of_a_batch(serve: Serve) -> None:
    with ScriptedServer(by_question) as server:
        desk = serve(server)

        def interrupt() -> None:
            server.wait_for(lambda: server.in_flight == 2)
            os.kill(os.getpid(), signal.SIGINT)
            stopping.wait()
            os.kill(os.getpid(), signal.SIGINT)

        stopping = threading.Event()
        thread = threading.Thread(target=interrupt)
        with RLM() as rlm:
            thread.start()
            with pytest.raises(KeyboardInterrupt):
                rlm.batch(["slow"] * 20, max_parallel=2, on_progress=lambda _: stopping.set())
        thread.join()
        server.wait_for(lambda: not server.in_flight)
        until(lambda: states(desk) == ["cancelled"] * 2)
        assert len(server.requests) == 2


# -- steering ----------------------------------------------------------------------------------------------


def test_each_block_is_run_edited_or_skipped_as_the_user_says(serve: Serve) -> None:
    asked: list[str] = []

    def step(language: str, code: str) -> str | None:
        asked.append(f"{language}: {code}")
        return {"a = 1": code, "a = 2": None, "FINAL(a)": "FINAL(a * 10)"}[code]

    with ScriptedServer([block("a = 1"), block("a = 2"), block("FINAL(a)")]) as server:
        serve(server)
        with RLM(step=step) as rlm:
            result = rlm.run("What?", "x")
            events = rlm.events(result.run)

    assert result.value == 10
    assert asked == ["python: a = 1", "python: a = 2", "python: FINAL(a)"]
    assert [event.decision for event in events if isinstance(event, ApprovalGiven)] == ["run", "skip", "edit"]
    assert [event.code for event in events if isinstance(event, CellStarted)] == ["a = 1", "FINAL(a * 10)"]


def test_a_stream_asks_the_users_function_too(serve: Serve) -> None:
    async def stream() -> list[str]:
        with RLM(step=lambda _, code: code.replace("1", "7")) as rlm:
            return [event.type async for event in rlm.stream("What?", "x")]

    with ScriptedServer([block("FINAL(1)")]) as server:
        serve(server)
        types = asyncio.run(asyncio.wait_for(stream(), 60))

    assert types.count("approval_given") == 1
    assert types[-1] == "run_finished"


def test_a_note_reaches_a_model_that_repeats_a_failing_block(serve: Serve) -> None:
    def script(request: Request) -> Reply | str:
        return block("FINAL(1)" if "Do not divide." in str(request.messages) else "1 / 0")

    with ScriptedServer(script) as server:
        serve(server)
        with RLM(step=True, max_turns=3) as rlm:
            run = rlm.start("What?", "x")
            for turn in (1, 2, 3):
                until(lambda cell=f"{turn}.1": (rlm.document(run)["approval"] or {}).get("cell") == cell)
                if turn == 2:
                    rlm.tell(run, "Do not divide.")
                rlm.decide(run, "run")
            assert rlm.attach(run).value == 1


def test_a_run_that_goes_on_by_itself_is_told_allowed_and_decided(serve: Serve) -> None:
    with ScriptedServer([block("1"), block("FINAL(2)")]) as server:
        serve(server)
        with RLM(step=True, max_turns=1) as rlm:
            run = rlm.start("What?", "x")
            until(lambda: any(isinstance(event, ApprovalAsked) for event in rlm.events(run)))
            rlm.tell(run, "The answer is even.")
            rlm.allow(run, max_turns=3, timeout=5000)
            with pytest.raises(RlmError, match="limit of turns is 3 already"):
                rlm.allow(run, max_turns=2)
            with pytest.raises(RlmError, match="no limit of prompt tokens"):
                rlm.allow(run, max_prompt_tokens=2)
            with pytest.raises(ValueError, match="no limit 'turns'"):
                rlm.allow(run, turns=2)
            rlm.decide(run, "run")
            until(lambda: sum(isinstance(event, ApprovalAsked) for event in rlm.events(run)) == 2)
            rlm.decide(run, "edit", "FINAL(4)")
            assert rlm.attach(run).value == 4
            raised = [event.limits for event in rlm.events(run) if isinstance(event, LimitsRaised)]
            with pytest.raises(RlmError, match="has ended"):
                rlm.tell(run, "Too late.")
        told = server.requests[1].last("user")

    assert "The answer is even." in told
    assert raised == [{"max_turns": 3, "max_seconds": 5000.0}]


class SlowToStart(ScriptedServer):
    """Tells which models it has when `ready` is set."""

    def __init__(self, script: Callable[[Request], Reply | str]) -> None:
        self.ready = threading.Event()
        super().__init__(script)

    @property
    def models(self) -> list[dict[str, Any]]:
        self.ready.wait(60)
        return self._models

    @models.setter
    def models(self, models: list[dict[str, Any]]) -> None:
        self._models = models


def test_more_subcalls_allowed_before_the_model_is_ready_are_never_fewer(serve: Serve) -> None:
    def script(request: Request) -> str:
        return block("FINAL(len(llm_query_batched(['n'] * 11)))") if "Question:" in request.last("user") else "ok"

    with SlowToStart(script) as server:
        serve(server)
        with RLM() as rlm:
            run = rlm.start("What?", "x")
            with pytest.raises(RlmError, match="not ready yet"):
                rlm.allow(run, max_subcalls=10)
            server.ready.set()
            assert rlm.attach(run).value == 11


def test_a_run_in_steps_goes_on_without_them_where_the_user_says_so(serve: Serve) -> None:
    with ScriptedServer([block("FINAL(2)")]) as server:
        serve(server)
        with RLM(step=True) as rlm:
            run = rlm.start("What?", "x")
            until(lambda: any(isinstance(event, ApprovalAsked) for event in rlm.events(run)))
            rlm.cancel(run)
        with RLM(step=False) as rlm:
            assert rlm.resume(run, {"context": "x"}).value == 2


def test_a_run_that_goes_on_by_itself_can_be_cancelled(serve: Serve) -> None:
    with ScriptedServer([SLOW]) as server:
        serve(server)
        with RLM() as rlm:
            run = rlm.start("What?", "x")
            rlm.cancel(run)
            assert rlm.document(run)["state"] == "cancelled"
            with pytest.raises(RlmError, match="was cancelled"):
                rlm.attach(run)
            with pytest.raises(RlmError, match="There is no run"):
                rlm.cancel("r-000000")


def test_what_cannot_be_told_says_why(serve: Serve) -> None:
    def script(request: Request) -> Reply | str:
        return block("FINAL(rlm_query('slow', 'x'))") if "Whole?" in str(request.messages) else SLOW

    with ScriptedServer(script) as server:
        serve(server)
        with RLM(depth=2) as rlm:
            direct = rlm.start("What?")
            with pytest.raises(RlmError, match="question without data"):
                rlm.tell(direct, "Too late.")
            rlm.cancel(direct)
            with pytest.raises(RlmError, match=r"has ended, so nothing can be changed about it\.$"):
                rlm.tell(direct, "Too late.")
            parent = rlm.start("Whole?", "x")
            until(lambda: any(isinstance(event, SubcallStarted) for event in rlm.events(parent)))
            child = f"{parent}-1"
            for steer in (rlm.cancel, lambda run: rlm.tell(run, "Hello")):
                with pytest.raises(RlmError, match=f"is a child of run {parent}"):
                    steer(child)
            rlm.cancel(parent)


# -- recorded runs -------------------------------------------------------------------------------------------


def test_a_run_is_resumed_branched_replayed_and_exported(serve: Serve) -> None:
    with ScriptedServer([block("a = 1"), block("print(a)"), block("FINAL(a)"), block("FINAL(a + 1)")]) as server:
        serve(server)
        with RLM(max_turns=2) as short, pytest.raises(RlmError) as caught:
            short.run("What?", "x")
        assert caught.value.document is not None
        run = caught.value.document["id"]

        with RLM(max_turns=5) as rlm:
            resumed = rlm.resume(run, {"context": "x"})
            branched = rlm.resume(resumed.run, {"context": "x"}, turn=1, reply=block("a = 100"))
            count = len(server.requests)
            replayed = rlm.replay(resumed.run, {"context": "x"})
            with pytest.raises(RlmError, match="was about context"):
                rlm.resume(run, {"other": 1}, turn=1)
            with pytest.raises(RlmError, match="by their names"):
                rlm.resume(run, ["x"])  # type: ignore[arg-type]
            notebook = json.loads(rlm.export(resumed.run, "notebook"))
            lines = rlm.export(resumed.run, "jsonl").splitlines()
        assert len(server.requests) == count

    assert (resumed.value, branched.value, replayed.value) == (1, 101, 1)
    assert notebook["nbformat"] == 4
    assert json.loads(lines[0])["type"] == "metadata"
