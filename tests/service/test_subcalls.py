"""Sub-calls: which are sent, which are counted, which are remembered, and what code is told of the others."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from kowalski_jupyter.rlm import events as ev
from tests.service.conftest import Desk
from tests.service.test_engine import block, by_kind, prompts
from tests.support.scripted_server import Reply, Request, ScriptedServer

Open = Callable[..., Desk]

NOTES = {"notes": "alpha\nbeta\n"}
WINDOW = {"/props": {"default_generation_settings": {"n_ctx": 4096}, "total_slots": 8}}
TRIED = "try:\n    FINAL({call})\nexcept QueryError as error:\n    FINAL(str(error))"


def one(call: str) -> list[str | Reply]:
    """The root's only turn: the value of a call, or its error, is the answer."""
    return [block(TRIED.format(call=call))]


def test_a_reply_that_never_fulfilled_its_schema_is_not_remembered(open_desk: Open) -> None:
    code = (
        "found = []\nfor _ in range(2):\n    try: found.append(llm_query('How many?', schema={'type': 'integer'}))\n"
        "    except QueryError as error: found.append(str(error))\nFINAL(found)"
    )
    replies = iter(["many"] * 3 + ["7"])
    with ScriptedServer(by_kind([block(code)], lambda _: next(replies))) as server:
        outcome = open_desk(server).ask("What?", NOTES)

    assert outcome.value == ["the reply is not JSON", 7]


def test_each_request_counts_and_none_is_made_that_is_not_left(open_desk: Open) -> None:
    call = "[str(item) for item in llm_query_batched(['a', 'b'], schema={'type': 'integer'})]"
    with ScriptedServer(by_kind(one(call), lambda _: "none")) as server:
        outcome = open_desk(server).ask("What?", NOTES, max_subcalls=3)
        asked = prompts(server)

    assert len(asked) == 3
    assert all("not JSON; the model was not asked again, as no model calls are left" in item for item in outcome.value)


def test_the_tokens_of_every_request_for_a_reply_are_counted(open_desk: Open) -> None:
    replies = iter(["one", "two words", "3"])
    root = one("llm_query('How many?', schema={'type': 'integer'})")
    with ScriptedServer(by_kind(root, lambda _: next(replies))) as server:
        outcome = open_desk(server).ask("What?", NOTES)
    [finished] = [event for event in outcome.events if isinstance(event, ev.SubcallFinished)]

    assert finished.completion_tokens == 4


def test_what_is_not_sent_costs_nothing(open_desk: Open) -> None:
    code = "refused = llm_query_batched(['x' * 40_000, ' ', 'x' * 50_000])\nFINAL([*map(str, refused), llm_query('a')])"
    with ScriptedServer(by_kind([block(code)], str.upper), routes=WINDOW) as server:
        outcome = open_desk(server).ask("What?", NOTES, max_subcalls=1)

    assert ["more than fit" in item for item in outcome.value] == [True, False, True, False]
    assert outcome.value[1:2] == ["The prompt is empty."]
    assert outcome.value[3] == "A"


def test_map_query_does_not_ask_again_what_would_be_refused_again(open_desk: Open) -> None:
    def sub(prompt: str) -> Reply | str:
        return Reply(status=500 if prompt == "broken" else 422, error="no") if prompt in {"broken", "bad"} else prompt

    code = "FINAL([*map(str, map_query(['ok', 'bad', 'broken', 'x' * 40_000], '{item}'))])"
    with ScriptedServer(by_kind([block(code)], sub), routes=WINDOW) as server:
        outcome = open_desk(server).ask("What?", NOTES)
        asked = prompts(server)
    started = [event for event in outcome.events if isinstance(event, ev.SubcallStarted)]

    assert sorted(asked) == ["bad", "broken", "broken", "ok"]
    assert len(started) == 5


@pytest.mark.parametrize(
    ("prompt", "tokens", "said"),
    [
        ("'hi'", 5000, "With max_tokens=5,000 there is no room for a prompt: scripted takes 4,096 tokens"),
        ("'hello ' * 20", 4096, "30 too many. Use at most max_tokens=4,066."),
        ("'hello ' * 2000", 4000, "characters of the 12,000, or a smaller max_tokens."),
        ("'hello ' * 4000", 5000, "Use a smaller max_tokens, and a shorter prompt"),
    ],
)
def test_a_reply_that_takes_the_whole_window_is_refused_in_plain_words(
    open_desk: Open, prompt: str, tokens: int, said: str
) -> None:
    root = one(f"llm_query({prompt}, max_tokens={tokens})")
    with ScriptedServer(by_kind(root, str.upper), routes=WINDOW) as server:
        outcome = open_desk(server).ask("What?", NOTES)
        asked = prompts(server)

    assert not asked
    assert said in outcome.value


@pytest.mark.parametrize(("prompt", "said"), [("'hi'", "a schema of"), ("'hi ' * 3000", "with its schema")])
def test_the_schema_counts_for_the_window_too(open_desk: Open, prompt: str, said: str) -> None:
    described = 150 if prompt == "'hi'" else 50
    schema = {"properties": {f"field_{n}": {"description": "x" * 100} for n in range(described)}}
    with ScriptedServer(by_kind(one(f"llm_query({prompt}, schema={schema})"), str.upper), routes=WINDOW) as server:
        outcome = open_desk(server).ask("What?", NOTES)
        asked = prompts(server)

    assert not asked
    assert said in outcome.value


def test_the_model_is_told_of_a_schema_what_is_not_checked(open_desk: Open) -> None:
    schema = {"properties": {"format": {"type": "string", "pattern": "^[A-Z]+$"}}, "additionalProperties": False}
    root = one(f"llm_query('Which?', schema={schema})")
    with ScriptedServer(by_kind(root, lambda _: '{"format": "pdf"}')) as server:
        outcome = open_desk(server).ask("What?", NOTES)
        [asked] = prompts(server)

    assert outcome.value == {"format": "pdf"}
    assert "^[A-Z]+$" in asked


def test_a_reply_of_thoughts_alone_is_an_error_that_code_can_see(open_desk: Open) -> None:
    replies = iter(["<think>hm", Reply("", reasoning="hm hm"), "done"])
    code = (
        "found = []\nwhile len(found) < 3:\n    try: found.append(llm_query('Go.'))\n"
        "    except QueryError as error: found.append(str(error))\nFINAL(found)"
    )
    with ScriptedServer(by_kind([block(code)], lambda _: next(replies))) as server:
        outcome = open_desk(server).ask("What?", NOTES)

    assert ["only thought" in item and "max_tokens" in item for item in outcome.value] == [True, True, False]
    assert outcome.value[2] == "done"


def test_code_is_told_which_models_it_can_ask(open_desk: Open) -> None:
    with ScriptedServer(by_kind(one("llm_query('hi', model='nope')"), str.upper), models=["one", "two"]) as server:
        outcome = open_desk(server, model="one").ask("What?", NOTES)

    assert outcome.value == "There is no model 'nope' to ask. Leave out `model`, or give one of: one, two."


def test_a_reply_is_remembered_for_its_seed_by_the_whole_tree(open_desk: Open) -> None:
    numbers = itertools.count(1)

    def script(request: Request) -> str:
        if not request.last("system"):
            return str(next(numbers))
        code = (
            "llm_query('Go.')"
            if "Question: Child" in str(request.messages)
            else "[llm_query('Go.'), rlm_query('Child')]"
        )
        return block(f"FINAL({code})")

    with ScriptedServer(script) as server:
        desk = open_desk(server)
        found = [desk.ask("What?", NOTES, depth=2, reuse=True, seed=seed).value for seed in (1, 2, 1, 2)]

    assert found == [["1", "1"], ["2", "2"], ["1", "1"], ["2", "2"]]


def test_a_vote_of_more_than_is_left_is_refused(open_desk: Open) -> None:
    replies = map(str, itertools.count())
    with ScriptedServer(by_kind(one("vote('Which?', 3)"), lambda _: next(replies))) as server:
        desk = open_desk(server)
        refused = desk.ask("What?", NOTES, max_subcalls=2)
        before = prompts(server)
        outcome = desk.ask("What?", NOTES, max_subcalls=3)
        seeds = {request.payload["seed"] for request in server.requests if not request.last("system")}

    assert "3 model calls, and this run has 2 of 2 left" in refused.value
    assert before == []
    assert outcome.value in {"0", "1", "2"}
    assert len(seeds) == 3


@pytest.mark.parametrize(("window", "calls"), [(4_300, 6), (32_000, 4)])
def test_tree_reduce_takes_what_fits_the_window(open_desk: Open, window: int, calls: int) -> None:
    code = "FINAL(tree_reduce(['x' * 14_000] * 5, 'Sum up.'))"
    routes = {"/props": {"default_generation_settings": {"n_ctx": window}, "total_slots": 8}}
    with ScriptedServer(by_kind([block(code)], lambda _: "short"), routes=routes) as server:
        outcome = open_desk(server).ask("What?", NOTES, max_subcalls=calls)
        asked = prompts(server)

    assert outcome.value == "short"
    assert len(asked) == calls


def test_tree_reduce_gives_up_where_nothing_gets_shorter(open_desk: Open) -> None:
    routes = {"/props": {"default_generation_settings": {"n_ctx": 4300}, "total_slots": 8}}
    root = one("tree_reduce(['x' * 14_000, 'y' * 14_000], 'Sum up.')")
    with ScriptedServer(by_kind(root, lambda prompt: prompt.split()[-1]), routes=routes) as server:
        outcome = open_desk(server).ask("What?", NOTES)

    assert "more than fit" in outcome.value


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_has_room_for_few_is_sent_few_and_answers_all(open_desk: Open, status: int) -> None:
    def script(request: Request) -> Reply | str:
        if request.last("system"):
            return block("FINAL([*map(str, llm_query_batched(map(str, range(30))))])")
        if server.in_flight > 4:
            return Reply(status=status, error="full")
        return Reply(request.last("user"), delay=0.05)

    with ScriptedServer(script) as server:
        outcome = open_desk(server).ask("What?", NOTES)
        asked = prompts(server)

    assert outcome.value == [str(number) for number in range(30)]
    assert len(asked) < 120
    assert sum("asked again" in notice for notice in outcome.document["notices"]) == 1
