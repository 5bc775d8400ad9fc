"""The tokens that the user sees are those that the limits count: of the whole tree, however its runs end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kowalski_jupyter.rlm import events as ev
from kowalski_jupyter.rlm.trace import Trace
from kowalski_jupyter.service.request import AgainRequest
from tests.service.conftest import Desk, until
from tests.support.scripted_server import Reply, Request, ScriptedServer

Open = Callable[..., Desk]

CHILDREN = "found = rlm_query_batched(['How long?'] * 3, ['a', 'bb', 'ccc'])"
WORDS = "word " * 5000


def block(code: str) -> str:
    return f"Let me see.\n```repl\n{code}\n```"


def tree(code: str, child: Reply | str) -> Callable[[Request], Reply | str]:
    """Have the first run do `code`, and all runs below it reply `child`."""
    return lambda request: child if "Question: How long?" in str(request.messages) else block(code)


def tokens(document: dict[str, dict[str, int]]) -> tuple[int, int]:
    return document["usage"]["prompt_tokens"], document["usage"]["completion_tokens"]


def test_the_usage_of_a_run_is_that_of_its_tree_when_it_is_stored_and_replayed_too(open_desk: Open) -> None:
    with ScriptedServer(tree(f"{CHILDREN}\nFINAL(found)", block("FINAL(len(context))"))) as server:
        desk = open_desk(server)
        outcome = desk.ask("What?", {"notes": "alpha\n"}, depth=2)
        [reply] = [event for event in outcome.events if isinstance(event, ev.ReplyFinished)]
        calls = [event for event in outcome.events if isinstance(event, ev.SubcallFinished)]
        children = [tokens(desk.client.document(f"{outcome.run}-{number}")) for number in (1, 2, 3)]
        asked = len(server.requests)
        with desk.client.replay(outcome.run, AgainRequest(desk.request("", {"notes": "alpha\n"}).data)) as batches:
            again = Trace.of(event for batch in batches for event in batch)
        stored = Trace.of(desk.client.record(outcome.run))

    assert outcome.value == [1, 2, 3]
    assert [
        (call.prompt_tokens, call.completion_tokens) for call in sorted(calls, key=lambda call: call.call)
    ] == children
    own = (reply.prompt_tokens, reply.completion_tokens)
    assert tokens(outcome.document) == tuple(map(sum, zip(own, *children, strict=True)))
    assert tokens(stored.document()) == tokens(again.document()) == tokens(outcome.document)
    assert asked == len(server.requests) == 4


def test_what_a_limit_counted_is_what_is_shown_when_it_ends_the_run(open_desk: Open) -> None:
    with ScriptedServer(tree(CHILDREN, block("FINAL(len(context))"))) as server:
        document = open_desk(server).ask("What?", {"notes": "alpha\n"}, depth=2, max_prompt_tokens=2000).document

    assert "prompt tokens is reached (2,000)" in document["error"]
    assert tokens(document)[0] >= 2000


def test_replies_that_a_limit_broke_off_in_child_runs_are_shown(open_desk: Open) -> None:
    with ScriptedServer(tree(CHILDREN, Reply(WORDS, token_delay=0.001))) as server:
        document = open_desk(server).ask("What?", {"notes": "alpha\n"}, depth=2, max_completion_tokens=100).document

    assert "generated tokens is reached (100)" in document["error"]
    assert tokens(document)[1] >= 100


@pytest.mark.parametrize("limit", [{"max_completion_tokens": 20}, {"timeout": 0.5}])
def test_a_question_without_data_keeps_what_has_come_at_a_limit(open_desk: Open, limit: dict[str, float]) -> None:
    with ScriptedServer([Reply(WORDS, reasoning="I think.", token_delay=0.001)]) as server:
        desk = open_desk(server)
        outcome = desk.ask("What?", {}, **limit)
        value = desk.client.answer(outcome.run)

    assert outcome.document["state"] == "failed"
    assert "best answer so far is kept" in outcome.document["error"]
    assert outcome.document["answer"]["partial"]
    assert value.split() == ["word"] * len(value.split())
    assert tokens(outcome.document)[0] > 0
    assert tokens(outcome.document)[1] >= len(value.split()) > 0


def test_a_question_with_a_schema_keeps_no_half_of_an_answer(open_desk: Open) -> None:
    with ScriptedServer([Reply('{"n": [' + "1, " * 5000, token_delay=0.001)]) as server:
        outcome = open_desk(server).ask("What?", {}, schema={"type": "object"}, max_completion_tokens=20)

    assert outcome.document["answer"] is None
    assert tokens(outcome.document)[1] >= 20


def test_a_call_that_outlives_its_run_is_not_told_after_the_end(open_desk: Open) -> None:
    code = "import threading\nthreading.Thread(target=lambda: llm_query('a')).start()\ntime.sleep(0.2)\nFINAL(1)"
    with ScriptedServer(
        lambda request: block(f"import time\n{code}") if request.last("system") else Reply("x", delay=60)
    ) as server:
        desk = open_desk(server)
        outcome = desk.ask("What?", {"notes": "alpha\n"})
        until(lambda: server.requests[-1].disconnected is not None)
        record = desk.client.record(outcome.run)

    assert isinstance(record[-1], ev.RunFinished)
