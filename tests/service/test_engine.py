"""What a run may spend, remembers and is told: through a real service, with real child kernels."""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

from kowalski_jupyter.kernels.base import Value
from kowalski_jupyter.rlm import events as ev
from kowalski_jupyter.rlm.chat.prompts import PROFILES, opening
from kowalski_jupyter.rlm.endpoints import Endpoint
from kowalski_jupyter.rlm.run import Run
from kowalski_jupyter.rlm.trace import Trace
from tests.service.conftest import Desk
from tests.support.scripted_server import Reply, Request, ScriptedServer

Open = Callable[..., Desk]

OPENING = len(opening())
NOTES = "alpha\nbeta\ngamma\n"


def block(code: str) -> str:
    return f"Let me see.\n```repl\n{code}\n```"


def by_kind(root: list[str | Reply], sub: Callable[[str], str | Reply]) -> Callable[[Request], str | Reply]:
    """Answer root calls in order of their turn, and sub-calls, which have no system prompt, by `sub`."""

    def script(request: Request) -> str | Reply:
        if not request.last("system"):
            return sub(request.last("user"))
        turn = sum(message["role"] == "assistant" for message in request.messages[OPENING:])
        return root[min(turn, len(root) - 1)]

    return script


def prompts(server: ScriptedServer) -> list[str]:
    return [request.last("user") for request in server.requests if not request.last("system")]


def test_an_equal_call_is_answered_from_memory_and_costs_nothing(open_desk: Open) -> None:
    root = [block("a = llm_query('one')\nb = llm_query_batched(['one', 'two'])"), block("FINAL([a, b])")]
    with ScriptedServer(by_kind(root, str.upper)) as server:
        outcome = open_desk(server).ask("What?", {"notes": NOTES}, max_subcalls=2)
        asked = prompts(server)

    assert outcome.value == ["ONE", ["ONE", "TWO"]]
    assert asked == ["one", "two"]
    assert outcome.document["usage"]["subcalls_remembered"] == 1


def test_fresh_asks_again(open_desk: Open) -> None:
    root = [block("FINAL([llm_query('one'), llm_query('one')])")]
    with ScriptedServer(by_kind(root, str.upper)) as server:
        open_desk(server).ask("What?", {"notes": NOTES}, fresh=True)
        asked = prompts(server)

    assert asked == ["one", "one"]


def test_a_prompt_that_stands_twice_in_a_batch_is_asked_twice(open_desk: Open) -> None:
    with ScriptedServer(by_kind([block("FINAL(llm_query_batched(['one'] * 3))")], str.upper)) as server:
        outcome = open_desk(server).ask("What?", {"notes": NOTES})
        asked = prompts(server)

    assert outcome.value == ["ONE"] * 3
    assert asked == ["one"] * 3


def test_a_reply_that_does_not_fulfil_its_schema_is_asked_for_again(open_desk: Open) -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    replies = iter(["He is old.", '{"age": "old"}', 'Here it is:\n```json\n{"age": 81}\n```'])
    root = [block(f"FINAL(llm_query('How old?', schema={schema!r})['age'])")]
    with ScriptedServer(by_kind(root, lambda _: next(replies))) as server:
        outcome = open_desk(server).ask("What?", {"notes": NOTES})
        told = [request.last("user") for request in server.requests if not request.last("system")]

    assert outcome.value == 81
    assert "not JSON" in told[1]
    assert "'old' is not of type 'integer'" in told[2]


def test_a_prompt_beyond_the_window_is_refused_with_the_figures(open_desk: Open) -> None:
    root = [
        block("try:\n    llm_query('word ' * 10_000)\nexcept Exception as error:\n    print(error)"),
        block("FINAL(1)"),
    ]
    window = {"/props": {"default_generation_settings": {"n_ctx": 8192}}}
    with ScriptedServer(by_kind(root, str.upper), routes=window) as server:
        open_desk(server).ask("What?", {"notes": NOTES})
        told = server.requests[-1].last("user")
        asked = prompts(server)

    assert not asked
    assert "more than fit" in told
    assert "8,192" in told
    assert "of the 50,000" in told


def test_code_cannot_have_files_loaded_as_models_or_models_without_end(open_desk: Open) -> None:
    code = (
        "found = []\nfor name in ['/etc/x.gguf', 'scripted', *map(str, range(20))]:\n"
        "    try: found.append(llm_query('hello', model=name))\n"
        "    except Exception as error: found.append(str(error))\n"
        "FINAL(found)"
    )
    with ScriptedServer(by_kind([block(code)], str.upper)) as server:
        value = open_desk(server).ask("What?", {"notes": NOTES}).value
        asked = {request.payload["model"] for request in server.requests}

    assert "must be the id of a model" in value[0]
    assert value[1] == "HELLO"
    assert "may ask 8 models" in value[-1]
    assert len(asked) <= 8


def test_the_model_is_told_what_is_left(open_desk: Open) -> None:
    root = [block("llm_query_batched(['a', 'b', 'c'])"), block("FINAL(1)")]
    with ScriptedServer(by_kind(root, str.upper)) as server:
        open_desk(server).ask("What?", {"notes": NOTES}, max_subcalls=10, max_turns=5)
        told = server.requests[-1].last("user")

    assert "Left: 4 turns, 7 model calls" in told


def test_the_model_is_told_what_is_left_after_each_kind_of_reply(open_desk: Open) -> None:
    replies = ["I think.", "", block("1"), block("1 / 0"), "```sql\nselect 1\n```", "FINAL()", "Still thinking."]
    with ScriptedServer(replies) as server:
        open_desk(server).ask("What?", {"notes": NOTES}, max_turns=len(replies) + 1)
        told = [request.last("user") for request in server.requests[1:]]

    left = [next(line for line in text.splitlines() if line.startswith("Left: ")) for text in told]
    assert [line.split()[1] for line in left] == ["7", "6", "5", "4", "3", "2", "1"]
    assert "last turn" in told[-1]


def test_a_block_that_fails_again_is_told_that_only_one_turn_is_left(open_desk: Open) -> None:
    with ScriptedServer([block("1 / 0")]) as server:
        open_desk(server).ask("What?", {"notes": NOTES}, max_turns=3)

    assert "last turn" in server.requests[-1].last("user")


def test_a_limit_of_tokens_stops_the_reply_and_keeps_the_best_answer(open_desk: Open) -> None:
    endless = Reply("word " * 5000, token_delay=0.001)
    with ScriptedServer(by_kind([block("total = 41 + 1\ntotal"), endless], str.upper)) as server:
        outcome = open_desk(server).ask("What?", {"notes": NOTES}, max_completion_tokens=60)
        server.wait_for(lambda: server.requests[-1].disconnected is not None)
        written = server.requests[-1].chunks

    assert outcome.document["state"] == "failed"
    assert "--max-tokens-out" in outcome.document["error"]
    assert outcome.document["answer"] == {"type": "int", "text": "42", "partial": True, "rich": None}
    assert written < 1000


def test_a_limit_that_the_last_word_reaches_is_a_limit(open_desk: Open) -> None:
    with ScriptedServer(["word " * 50]) as server:
        desk = open_desk(server)
        outcome = desk.ask("What?", {}, max_completion_tokens=20)
        again = desk.ask("What?", {})

    assert outcome.document["path"] == "direct"
    assert "--max-tokens-out" in outcome.document["error"]
    assert again.document["state"] == "done"


def test_a_limit_of_turns_keeps_the_draft_of_the_answer(open_desk: Open) -> None:
    root = [block("answer['content'] = {'so far': 3}"), block("'something else'")]
    with ScriptedServer(by_kind(root, str.upper)) as server:
        desk = open_desk(server)
        outcome = desk.ask("What?", {"notes": NOTES}, max_turns=2)
        value = desk.client.answer(outcome.run)

    assert "turns is reached (2)" in outcome.document["error"]
    assert value == {"so far": 3}


@pytest.mark.parametrize(
    "code",
    ["import os\nos._exit(1)", "while True:\n    try:\n        while True: pass\n    except BaseException: pass"],
    ids=["it has died", "it does not stop"],
)
@pytest.mark.parametrize("schema", [None, {"type": "string"}])
def test_a_limit_keeps_the_draft_of_a_kernel_that_cannot_be_asked(
    open_desk: Open, code: str, schema: dict[str, Any] | None
) -> None:
    root = [block("answer['content'] = 'so far'\n1"), block(code), block("print('other')")]
    with ScriptedServer(by_kind(root, str.upper)) as server:
        desk = open_desk(server)
        outcome = desk.ask("What?", {"notes": NOTES}, max_turns=3, timeout=3.0, schema=schema)

    assert outcome.document["answer"]["text"] == "so far"
    assert desk.client.answer(outcome.run) == "so far"


def test_a_draft_that_does_not_fulfil_the_schema_is_no_answer(open_desk: Open) -> None:
    root = [block("answer['content'] = 'so far'"), block("import os\nos._exit(1)")]
    with ScriptedServer(by_kind(root, str.upper)) as server:
        outcome = open_desk(server).ask("What?", {"notes": NOTES}, max_turns=2, schema={"type": "integer"})

    assert outcome.document["answer"] is None
    assert "kept" not in outcome.document["error"]


def test_failures_in_a_row_end_a_run(open_desk: Open) -> None:
    root = [block(f"{name} + 1") for name in "abcdefghijklmnop"]
    with ScriptedServer(root) as server:
        outcome = open_desk(server).ask("What?", {"notes": NOTES})

    assert "failed turns in a row" in outcome.document["error"]
    assert outcome.document["usage"]["turns"] == 8


def test_a_query_at_the_limit_of_depth_is_a_plain_call(open_desk: Open) -> None:
    root = [block("FINAL(rlm_query('Which letter?', notes))")]
    with ScriptedServer(by_kind(root, str.upper)) as server:
        outcome = open_desk(server).ask("What?", {"notes": NOTES})

    assert outcome.value == f"WHICH LETTER?\n\n{NOTES.upper()}".strip()


def test_all_of_a_table_reaches_a_plain_call(open_desk: Open) -> None:
    root = [block("import pandas\nFINAL(len(rlm_query('Which?', pandas.DataFrame({'n': range(3000)}))))")]
    with ScriptedServer(by_kind(root, str)) as server:
        outcome = open_desk(server).ask("What?", {"notes": NOTES})
        (asked,) = prompts(server)

    assert asked == "Which?\n\nn\n" + "".join(f"{n}\n" for n in range(3000))
    assert outcome.value == len(asked.strip())


def test_queries_are_answered_by_child_runs_of_their_own(open_desk: Open) -> None:
    def script(request: Request) -> str:
        first = next(m["content"] for m in request.messages[OPENING:] if m["role"] == "user")
        if "Question: Which?" in first:
            return block("FINAL(rlm_query_batched(['How long?'] * 3, [[1], [1, 2], 'abc']))")
        return block("FINAL(len(context))")

    with ScriptedServer(script) as server:
        desk = open_desk(server)
        outcome = desk.ask("Which?", {"notes": NOTES}, depth=2)
        started = [event for event in outcome.events if isinstance(event, ev.SubcallStarted)]

    assert outcome.value == [1, 2, 3]
    assert [event.run for event in started] == [f"{outcome.run}-{number}" for number in (1, 2, 3)]


@pytest.mark.parametrize("what", ["matplotlib.pyplot.figure()", "plotly.graph_objects.Figure()"])
def test_a_context_that_no_run_can_have_costs_the_others_nothing(what: str, open_desk: Open) -> None:
    def script(request: Request) -> str:
        first = next(m["content"] for m in request.messages[OPENING:] if m["role"] == "user")
        if "Question: Which?" in first:
            return block(
                f"import {what.rpartition('.')[0]}\nfound = rlm_query_batched(['How long?'] * 2, [{what}, 'abc'])\n"
                "FINAL([type(found[0]).__name__, str(found[0]), found[1]])"
            )
        return block("FINAL(len(context))")

    with ScriptedServer(script) as server:
        outcome = open_desk(server).ask("Which?", {"notes": NOTES}, depth=2)

    assert outcome.value[::2] == ["QueryError", 3]
    assert "cannot be passed. These can: text" in outcome.value[1]


def test_a_child_run_that_ends_by_a_fault_of_ours_costs_the_others_nothing(
    open_desk: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(request: Request) -> str:
        first = next(m["content"] for m in request.messages[OPENING:] if m["role"] == "user")
        if "Question: Which?" in first:
            return block(
                "found = rlm_query_batched(['sound', 'faulty'], [notes] * 2)\nFINAL([str(item) for item in found])"
            )
        return block("FINAL(5)")

    run_loop = Run._run_loop

    async def faulty(run: Run, endpoint: Endpoint) -> Value:
        if run.question == "faulty":
            raise RuntimeError("nobody thought of this")
        return await run_loop(run, endpoint)

    monkeypatch.setattr(Run, "_run_loop", faulty)
    with ScriptedServer(script) as server:
        outcome = open_desk(server).ask("Which?", {"notes": NOTES}, depth=2)

    assert outcome.value[0] == "5"
    assert "Unexpected RuntimeError: nobody thought of this" in outcome.value[1]


def test_a_childs_failure_is_a_value_and_its_calls_count_for_the_whole_tree(open_desk: Open) -> None:
    def script(request: Request) -> str:
        if not request.last("system"):
            return "yes"
        first = next(m["content"] for m in request.messages[OPENING:] if m["role"] == "user")
        if "Question: Which?" in first:
            return block("found = rlm_query_batched(['ask'], [notes])\nFINAL([str(item) for item in found])")
        return block("llm_query_batched(['a', 'b', 'c'])")

    with ScriptedServer(script) as server:
        outcome = open_desk(server).ask("Which?", {"notes": NOTES}, depth=2, max_subcalls=3, max_turns=3)
        asked = prompts(server)

    assert "limit of turns (3)" in outcome.value[0]
    assert not asked


def test_code_reads_the_best_of_a_child_run_that_reached_its_limit(open_desk: Open) -> None:
    def script(request: Request) -> str:
        first = next(m["content"] for m in request.messages[OPENING:] if m["role"] == "user")
        if "Question: Which?" in first:
            return block("found = rlm_query_batched(['ask'], [notes])\nFINAL(str(found[0]))")
        return block("answer['content'] = 'gamma, I think'")

    with ScriptedServer(script) as server:
        outcome = open_desk(server).ask("Which?", {"notes": NOTES}, depth=2, max_turns=2)

    assert "limit of turns (2)" in outcome.value
    assert "gamma, I think" in outcome.value
    assert "--" not in outcome.value


@pytest.mark.parametrize("profile", PROFILES)
def test_without_depth_there_is_nothing_to_ask_and_nothing_is_said_of_it(open_desk: Open, profile: str) -> None:
    last = block("FINAL([name for name in ('llm_query', 'rlm_query', 'map_query') if name in globals()])")
    with ScriptedServer([block("1"), "I think.", block("1 / 0"), last]) as server:
        outcome = open_desk(server).ask("Which?", {"notes": NOTES}, depth=0, profile=profile)
        said = [message["content"] for request in server.requests for message in request.messages]

    assert outcome.value == []
    assert not [text for text in said if re.search(r"_query|_reduce|\bmodels?\b", text)]


@pytest.mark.parametrize("profile", PROFILES)
def test_child_runs_are_not_spoken_of_where_there_are_none(open_desk: Open, profile: str) -> None:
    with ScriptedServer([block("1"), block("FINAL(1)")]) as server:
        open_desk(server).ask("Which?", {"notes": NOTES}, profile=profile)
        said = str([request.messages for request in server.requests])

    assert "llm_query" in said
    assert "rlm_query" not in said


def test_an_answer_that_does_not_fulfil_the_schema_goes_back_to_the_model(open_desk: Open) -> None:
    schema = {"type": "array", "items": {"type": "integer"}}
    root = [block("FINAL(['one'])"), block("FINAL([1])")]
    with ScriptedServer(by_kind(root, str.upper)) as server:
        outcome = open_desk(server).ask("Which?", {"notes": NOTES}, schema=schema)
        told = server.requests[-1].last("user")

    assert outcome.value == [1]
    assert "'one' is not of type 'integer'" in told


def test_a_schema_is_told_before_the_first_reply(open_desk: Open) -> None:
    schema = {"type": "object", "properties": {"sender_name": {"type": "string"}}, "required": ["sender_name"]}
    with ScriptedServer([block("FINAL({'sender_name': 'x'})")]) as server:
        outcome = open_desk(server).ask("Who?", {"notes": NOTES}, schema=schema)
        told = server.requests[0].last("user")

    assert '"required":["sender_name"]' in told
    assert told.index("Who?") < told.index("sender_name") < told.index("Reply with")
    assert outcome.document["usage"]["turns"] == 1


FULFILLING = {
    "(1, 2)": ({"type": "array", "items": {"type": "integer"}}, [1, 2]),
    "{1}": ({"type": "array"}, [1]),
    "2**70": ({"type": "integer"}, 2**70),
    "__import__('datetime').date(2026, 1, 2)": ({"type": "string", "format": "date"}, "2026-01-02"),
    "__import__('datetime').timedelta(days=-1, hours=1)": ({"type": "string"}, "-23:00:00"),
    "{1890: 3, (1, 2): 4}": (
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"1890": 3, "[1, 2]": 4},
    ),
    "{'$': (1, None)}": ({"type": "object", "properties": {"$": {"type": "array"}}}, {"$": [1, None]}),
}


@pytest.mark.parametrize("code", FULFILLING)
def test_what_fulfils_a_schema_as_json_is_the_answer_as_json(code: str, open_desk: Open) -> None:
    schema, value = FULFILLING[code]
    with ScriptedServer([block(f"FINAL({code})")]) as server:
        outcome = open_desk(server).ask("Which?", {"notes": NOTES}, schema=schema, max_turns=1)

    assert outcome.value == value
    assert type(outcome.value) is type(value)


NOT_FULFILLING = {
    "(1, 2)": "[1, 2] is not of type 'object'",
    "{1, 2}": "[1, 2] is not of type 'object'",
    "2**70": "1180591620717411303424 is not of type 'object'",
    "__import__('datetime').date(2026, 1, 2)": "'2026-01-02' is not of type 'object'",
    "{'a': float('nan')}": "JSON has no form for nan",
    "{'a': -float('inf')}": "JSON has no form for -inf",
    "{'a': 1j}": "JSON has no form for complex",
    "{'a': b'x'}": "JSON has no form for bytes",
}


def test_how_a_value_is_sent_fulfils_no_schema(open_desk: Open) -> None:
    tried = "\n".join(
        f"try:\n    FINAL({code})\nexcept QueryError as error:\n    told.append(str(error))" for code in NOT_FULFILLING
    )
    with ScriptedServer([block(f"told = []\n{tried}\nFINAL(dict(enumerate(told)))")]) as server:
        outcome = open_desk(server).ask("Which?", {"notes": NOTES}, schema={"type": "object"}, max_turns=1)

    assert len(outcome.value) == len(NOT_FULFILLING)
    assert all(words in told for words, told in zip(NOT_FULFILLING.values(), outcome.value.values(), strict=True))


def test_a_direct_answer_fulfils_the_schema_too(open_desk: Open) -> None:
    schema = {"type": "object", "required": ["year"]}
    with ScriptedServer(["1891, I think.", '{"month": 5}', '{"year": 1891}']) as server:
        outcome = open_desk(server).ask("When?", {}, schema=schema)
        told = server.requests[-1].last("user")

    assert outcome.value == {"year": 1891}
    assert "'year' is a required property" in told


def test_a_note_reaches_the_model_in_its_next_turn(open_desk: Open) -> None:
    told = threading.Event()

    def sub(prompt: str) -> str:
        assert told.wait(10)
        return prompt

    with ScriptedServer(by_kind([block("llm_query('wait')"), block("FINAL(1)")], sub)) as server:
        desk = open_desk(server)
        with desk.client.run(desk.request("What?", {"notes": NOTES})) as batches:
            for batch in batches:
                for event in batch:
                    if isinstance(event, ev.RunStarted):
                        run = event.run
                    if isinstance(event, ev.SubcallSent):
                        desk.client.steer(run, tell="Leave out the appendix.")
                        told.set()
        said = server.requests[-1].last("user")

    assert "Leave out the appendix." in said


def test_a_raised_limit_holds_at_once_and_is_shown(open_desk: Open) -> None:
    told = threading.Event()

    def sub(prompt: str) -> str:
        assert told.wait(10)
        return prompt

    root = [block("llm_query('wait')"), block("2"), block("FINAL(3)")]
    events: list[ev.Event] = []
    with ScriptedServer(by_kind(root, sub)) as server:
        desk = open_desk(server)
        with desk.client.run(desk.request("What?", {"notes": NOTES}, max_turns=2)) as batches:
            for batch in batches:
                for event in batch:
                    events.append(event)
                    if isinstance(event, ev.RunStarted):
                        run = event.run
                    if isinstance(event, ev.SubcallSent):
                        desk.client.steer(run, limits={"max_turns": 3})
                        told.set()
        value = desk.client.answer(run)

    assert value == 3
    assert Trace.of(events).document()["limits"]["turns"] == 3


def test_in_steps_a_block_runs_only_as_the_user_says(open_desk: Open) -> None:
    decisions: list[dict[str, Any]] = [
        {"decide": "skip"},
        {"decide": "edit", "code": "found = 7"},
        {"decide": "run"},
    ]
    root = [block("open('x', 'w')"), block("found = 1"), block("FINAL(found)")]
    with ScriptedServer(by_kind(root, str.upper)) as server:
        desk = open_desk(server)
        with desk.client.run(desk.request("What?", {"notes": NOTES}, step=True)) as batches:
            for batch in batches:
                for event in batch:
                    if isinstance(event, ev.RunStarted):
                        run = event.run
                    if isinstance(event, ev.ApprovalAsked):
                        desk.client.steer(run, cell=event.cell, **decisions.pop(0))
        value = desk.client.answer(run)
        said = server.requests[1].last("user")

    assert value == 7
    assert "did not let this block run" in said


def test_a_long_run_folds_its_chat_and_still_finds_what_stood_in_turn_two(open_desk: Open) -> None:
    window = 8192
    turns = 50

    def script(request: Request) -> str:
        last = request.last("user")
        if "Sum up" in last:
            return "I looked at many letters."
        done = len(cells)
        cells.append(last)
        if done == 1:
            return block("needle = 'K-4711'\nprint('x' * 5000 + needle + 'y' * 5000)")
        if done == turns - 1:
            return block("FINAL([re.search(r'K-\\d+', history[1]['output'])[0], needle])")
        return block(f"value_{done} = {done}\nprint('{done} ' * 4000)")

    cells: list[str] = []
    routes = {"/props": {"default_generation_settings": {"n_ctx": window}}}
    with ScriptedServer(script, routes=routes) as server:
        outcome = open_desk(server).ask("What?", {"notes": NOTES}, max_turns=turns)
        sizes = [
            sum(len(m["content"]) for m in request.messages) // 4 + request.payload["max_tokens"]
            for request in server.requests
        ]
    folds = [event for event in outcome.events if isinstance(event, ev.Folded)]

    assert outcome.value == ["K-4711", "K-4711"]
    assert outcome.document["usage"]["turns"] == turns
    assert len(folds) > 1
    assert max(sizes) <= window
    assert any("needle" in line for line in folds[0].kept)
    assert json.dumps(outcome.document)


def test_between_folds_every_prompt_begins_with_the_one_before(open_desk: Open) -> None:
    root = [block(f"print('{letter}' * 300)") for letter in "abcdef"]
    with ScriptedServer([*root, block("FINAL(1)")]) as server:
        open_desk(server).ask("What?", {"notes": NOTES})
        chats = [request.messages for request in server.requests]

    for earlier, later in itertools.pairwise(chats):
        assert later[: len(earlier)] == earlier
