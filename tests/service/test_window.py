"""A server that does not state its window until a prompt exceeds it, seen from the runs that it answers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kowalski_jupyter.rlm import events as ev
from kowalski_jupyter.rlm.trace import Trace
from kowalski_jupyter.service.request import AgainRequest
from tests.service.conftest import Desk
from tests.support.scripted_server import Reply, Request, ScriptedServer

Open = Callable[..., Desk]

WINDOW = 2500
STATED = f"This model's maximum context length is {WINDOW} tokens. However, your messages resulted in more."
UNSTATED = "the request exceeds the available context size, try increasing it"


class Narrow:
    """Answers turns in order, requests for a summary, and sub-calls, as long as they fit into a window."""

    def __init__(self, turns: list[str], said: str, window: int = WINDOW) -> None:
        self.turns = turns
        self.said = said
        self.window = window
        self.refused = 0

    def __call__(self, request: Request) -> Reply | str:
        if sum(len(message["content"]) for message in request.messages) // 4 > self.window:
            self.refused += 1
            return Reply(status=400, error=self.said)
        if "Sum up" in request.last("user"):
            return "I looked at parts."
        return self.turns.pop(0) if request.last("system") else "fine"


def block(code: str) -> str:
    return f"I go on.\n```repl\n{code}\n```"


def looks(number: int) -> list[str]:
    return [block(f"part_{i} = {i}\nprint('{i}' * 2000)") for i in range(number)]


@pytest.mark.parametrize("said", [STATED, UNSTATED])
def test_a_chat_that_is_refused_as_too_long_is_folded_and_goes_on(open_desk: Open, said: str) -> None:
    narrow = Narrow([*looks(12), block("FINAL(part_0 + part_11)")], said)
    with ScriptedServer(narrow) as server:
        outcome = open_desk(server).ask("What?", {"notes": "alpha\n"}, max_turns=20)
    folds = [turn["fold"]["turns"] for turn in outcome.document["turns"] if turn["fold"]]
    numbers = [turn["number"] for turn in outcome.document["turns"]]

    assert outcome.value == 11
    assert narrow.refused == 1
    assert folds == list(range(folds[0], 13))
    assert numbers == list(range(1, 14))
    assert any("part_0" in line for event in outcome.events if isinstance(event, ev.Folded) for line in event.kept)


def test_outputs_are_shortened_where_no_turn_can_be_folded_yet(open_desk: Open) -> None:
    narrow = Narrow([block("print('x' * 2000)"), block("FINAL(1)")], UNSTATED, window=1100)
    with ScriptedServer(narrow) as server:
        outcome = open_desk(server).ask("What?", {"notes": "alpha\n"})

    assert outcome.value == 1
    assert narrow.refused == 1


def test_a_window_that_a_sub_call_has_shown_holds_for_those_after_it(open_desk: Open) -> None:
    code = "replies = []\nfor _ in 'ab':\n    try:\n        llm_query(notes)\n    except Exception as error:\n"
    narrow = Narrow([block(f"{code}        replies.append(str(error))\nFINAL(replies)")], STATED)
    with ScriptedServer(narrow) as server:
        first, second = open_desk(server).ask("What?", {"notes": "alpha " * 3000}).value

    assert "smaller parts" in first
    assert f"takes {WINDOW:,}" in second
    assert narrow.refused == 1


@pytest.mark.parametrize(("said", "most"), [(STATED, 2), (UNSTATED, 1)])
def test_a_chat_that_cannot_be_shorter_says_that_it_is_the_chat(open_desk: Open, said: str, most: int) -> None:
    narrow = Narrow([], said, window=100)
    with ScriptedServer(narrow) as server:
        error = open_desk(server).ask("What?", {"notes": "alpha\n"}).document["error"]

    assert narrow.refused == most
    assert said.rstrip(".") in error
    assert "the chat of the run is too long" in error
    assert "smaller parts" not in error


def test_a_run_whose_chat_was_refused_is_replayed_as_it_was(open_desk: Open) -> None:
    narrow = Narrow([*looks(6), block("FINAL(part_5)")], STATED)
    with ScriptedServer(narrow) as server:
        desk = open_desk(server)
        run = desk.ask("What?", {"notes": "alpha\n"}).run
        data = desk.request("What?", {"notes": "alpha\n"}).data
        with desk.client.replay(run, AgainRequest(data)) as batches:
            events = [event for batch in batches for event in batch]
    document = Trace.of(events).document()

    assert document["answer"]["text"] == "5"
    assert document["usage"]["turns"] == 7
    assert not narrow.turns
