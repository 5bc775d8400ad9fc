"""The loop as a client of the service sees it: real socket, real child kernels, a scripted model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from tests.service.conftest import Desk
from tests.support.scripted_server import Reply, Request, ScriptedServer

NOTES = "one apple\ntwo apples\nno pear\n" * 100

Open = Callable[..., Desk]


def block(code: str) -> str:
    return f"Let me see.\n```repl\n{code}\n```"


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("FINAL(notes.count('apple'))", 200),
        ("FINAL(notes.split()[:2])", ["one", "apple"]),
        ("FINAL({'a': (1, 2), 3: None})", {"a": (1, 2), 3: None}),
        ("FINAL(notes[:9])", "one apple"),
        ("FINAL(0.1 + 0.2)", 0.1 + 0.2),
        ("FINAL(False)", False),
    ],
)
def test_the_answer_is_a_live_value_of_its_own_type(open_desk: Open, code: str, value: Any) -> None:
    with ScriptedServer([block(code)]) as server:
        outcome = open_desk(server).ask("What?", {"notes": NOTES})

    assert outcome.document["state"] == "done"
    assert outcome.value == value
    assert type(outcome.value) is type(value)


def test_a_table_goes_in_and_comes_out_as_a_table(open_desk: Open) -> None:
    table = pd.DataFrame({"city": ["Oslo", "Bern"], "people": [700, 130]})
    with ScriptedServer([block("FINAL(df[df.people > 500])")]) as server:
        outcome = open_desk(server).ask("Which are large?", {"df": table})

    pd.testing.assert_frame_equal(outcome.value, table[table.people > 500])


def test_the_model_sees_the_question_and_a_description_but_never_the_data(open_desk: Open) -> None:
    question = 'Is {"a": 1}, {}, $x or println!("{}") in it?'
    with ScriptedServer([block("FINAL(1)")]) as server:
        open_desk(server).ask(question, {"notes": NOTES})
        said = server.requests[0].messages

    assert question in said[-1]["content"]
    assert "notes" in said[-1]["content"]
    assert sum(len(message["content"]) for message in said) < len(NOTES) + 2000
    assert NOTES not in str(said)


def test_every_request_says_its_own_limits_and_seed(open_desk: Open) -> None:
    with ScriptedServer([block("1"), block("FINAL(1)")]) as server:
        open_desk(server).ask("What?", {"notes": NOTES}, seed=7)
        payloads = [request.payload for request in server.requests]

    assert all(payload["stream"] and payload["max_tokens"] for payload in payloads)
    assert len({payload["seed"] for payload in payloads}) == len(payloads)


def test_state_is_kept_between_turns_and_outputs_go_back(open_desk: Open) -> None:
    replies = [block("words = notes.split()\nlen(words)"), block("FINAL(words.count('pear'))")]
    with ScriptedServer(replies) as server:
        outcome = open_desk(server).ask("How many pears?", {"notes": NOTES})
        told = server.requests[1].last("user")

    assert outcome.value == 100
    assert "600" in told


def test_a_long_output_goes_back_head_and_tail_with_its_true_length(open_desk: Open) -> None:
    with ScriptedServer([block("print('x' * 50_000 + 'END')"), block("FINAL(1)")]) as server:
        open_desk(server).ask("What?", {"notes": NOTES})
        told = server.requests[1].last("user")

    assert "xxx" in told
    assert "END" in told
    assert "50,00" in told
    assert len(told) < 4000


def test_an_error_goes_back_with_its_line_and_what_was_bound_is_kept(open_desk: Open) -> None:
    with ScriptedServer([block("kept = 1\nkept / 0"), block("FINAL(kept)")]) as server:
        outcome = open_desk(server).ask("What?", {"notes": NOTES})
        told = server.requests[1].last("user")

    assert "ZeroDivisionError" in told
    assert "kept / 0" in told
    assert outcome.value == 1


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply("I would first look at the data."), "no code"),
        (Reply("```sql\nselect 1\n```"), "sql"),
        (Reply("```\nx = 1\n```"), "tag"),
        (Reply(""), "empty"),
        (Reply("", reasoning="hm, let me think"), "reply"),
        (Reply("```repl\nx = (1 +", finish_reason="length"), "cut"),
        (Reply(block("1"), usage=False), "1"),
        (Reply("x", shape="nulls"), "no code"),
        (Reply("x", shape="parts"), "no code"),
        (Reply("FINAL()"), "FINAL"),
    ],
)
def test_a_reply_that_is_no_use_leads_to_a_helpful_message(open_desk: Open, reply: Reply, said: str) -> None:
    with ScriptedServer([reply, block("FINAL(5)")]) as server:
        outcome = open_desk(server).ask("What?", {"notes": NOTES})
        told = server.requests[1].last("user")

    assert said.lower() in told.lower()
    assert outcome.value == 5


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("FINAL([1, 2])", [1, 2]),
        ("The total is clear.\n\nFINAL(10,000)", 10_000),
        ('FINAL({"a": true, "b": null})', {"a": True, "b": None}),
        ('FINAL("1984")', "1984"),
        ("FINAL('None')", "None"),
        ('FINAL("Oslo", "Bern")', ["Oslo", "Bern"]),
        ("FINAL(It's (about) 5%)", "It's (about) 5%"),
        ("FINAL(len(context))", len(NOTES)),
        ("FINAL_VAR(context)", NOTES),
    ],
)
def test_an_answer_written_as_text_is_taken_with_its_type(open_desk: Open, reply: str, value: Any) -> None:
    with ScriptedServer([reply]) as server:
        outcome = open_desk(server).ask("What?", {"notes": NOTES}, max_turns=1)

    assert outcome.value == value
    assert type(outcome.value) is type(value)


def test_an_answer_of_two_values_is_told_how_to_be_one(open_desk: Open) -> None:
    with ScriptedServer([block("FINAL(1, 2)"), block("FINAL([1, 2])")]) as server:
        outcome = open_desk(server).ask("What?", {"notes": NOTES})
        told = server.requests[1].last("user")

    assert "FINAL takes one value" in told
    assert outcome.value == [1, 2]


def test_a_variable_named_as_answer_in_text_is_its_value(open_desk: Open) -> None:
    with ScriptedServer([block("total = {'n': 3}"), "FINAL_VAR(total)"]) as server:
        assert open_desk(server).ask("What?", {"notes": NOTES}).value == {"n": 3}


def test_text_after_a_whole_block_is_not_waited_for(open_desk: Open) -> None:
    rambling = Reply(block("FINAL(1)") + "\nAnd the output will be:\n" + "word " * 500, token_delay=0.05)
    with ScriptedServer([rambling]) as server:
        outcome = open_desk(server).ask("What?", {"notes": NOTES})
        request = server.requests[0]

    assert outcome.value == 1
    assert request.disconnected is not None


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_block_runs_before_the_reply_is_looked_at_as_a_whole(open_desk: Open, end: str) -> None:
    with ScriptedServer([Reply(block("FINAL(1)") + end, whole=True)]) as server:
        outcome = open_desk(server).ask("What?", {"notes": NOTES})

    types = [event.type for event in outcome.events]
    assert outcome.value == 1
    assert types.count("cell_started") == 1
    assert types.index("cell_started") < types.index("reply_finished")


THOUGHT = "I could do this:\n```repl\nFINAL('a thought')\n```\nor better that.\n"


def test_code_in_a_thought_whose_opening_mark_a_server_swallowed_does_not_run(open_desk: Open) -> None:
    with ScriptedServer([THOUGHT + "</think>\n" + block("FINAL('right')")]) as server:
        assert open_desk(server).ask("What?", {"notes": NOTES}, profile="reasoning").value == "right"


@pytest.mark.parametrize(
    ("thought", "reasoning"), [(THOUGHT + "</think>", ""), ("<think>" + THOUGHT + "</think>", ""), ("", THOUGHT)]
)
def test_once_the_thoughts_are_known_to_be_over_a_block_runs_at_once(
    open_desk: Open, thought: str, reasoning: str
) -> None:
    rambling = Reply(f"{thought}\n{block('FINAL(1)')}\n{'word ' * 500}", reasoning, token_delay=0.05)
    with ScriptedServer([rambling]) as server:
        outcome = open_desk(server).ask("What?", {"notes": NOTES}, profile="reasoning")
        request = server.requests[0]

    assert outcome.value == 1
    assert request.disconnected is not None


def test_a_reasoning_model_that_marks_nothing_is_heard_to_its_end(open_desk: Open) -> None:
    with ScriptedServer([block("FINAL(1)")]) as server:
        assert open_desk(server).ask("What?", {"notes": NOTES}, profile="reasoning").value == 1


def test_subcalls_in_sequence_and_in_a_batch_keep_their_order(open_desk: Open) -> None:
    code = (
        "first = llm_query('say 0')\nrest = llm_query_batched([f'say {i}' for i in range(1, 9)])\nFINAL([first, *rest])"
    )

    def script(request: Request) -> str:
        said = request.last("user")
        return said.removeprefix("say ") if said.startswith("say ") else block(code)

    with ScriptedServer(script) as server:
        outcome = open_desk(server).ask("What?", {"notes": NOTES})

    assert outcome.value == [str(number) for number in range(9)]
    assert outcome.document["usage"]["subcalls"] == 9
    cell = outcome.document["turns"][0]["parts"][-1]
    assert [row["state"] for row in cell["subcalls"]] == ["ok"] * 9


def test_a_failed_item_is_a_value_and_the_batch_is_not_lost(open_desk: Open) -> None:
    code = "r = llm_query_batched(['good', 'bad', 'good'])\nFINAL([isinstance(x, Exception) for x in r])"

    def script(request: Request) -> Reply | str:
        said = request.last("user")
        if said in ("good", "bad"):
            return Reply("fine", status=200 if said == "good" else 400)
        return block(code)

    with ScriptedServer(script) as server:
        outcome = open_desk(server).ask("What?", {"notes": NOTES})

    assert outcome.value == [False, True, False]
    assert outcome.document["usage"]["subcalls_failed"] == 1


def test_a_question_without_data_goes_to_the_model_as_it_is(open_desk: Open) -> None:
    with ScriptedServer(["Forty-two."]) as server:
        outcome = open_desk(server).ask("What is six times seven?", {})
        messages = server.requests[0].messages

    assert outcome.value == "Forty-two."
    assert outcome.document["path"] == "direct"
    assert [message["content"] for message in messages] == ["What is six times seven?"]


def test_the_turns_end_with_a_reason_and_what_to_do(open_desk: Open) -> None:
    with ScriptedServer([block("1")]) as server:
        outcome = open_desk(server).ask("What?", {"notes": NOTES}, max_turns=3)
        count = len(server.requests)

    assert outcome.document["state"] == "failed"
    assert "--max-turns" in outcome.document["error"]
    assert count == 3


def test_the_time_limit_ends_a_run_in_the_middle_of_a_cell(open_desk: Open) -> None:
    with ScriptedServer([block("while True: pass")]) as server:
        outcome = open_desk(server).ask("What?", {"notes": NOTES}, timeout=1.0)

    assert outcome.document["state"] == "failed"
    assert "--timeout" in outcome.document["error"]


def test_more_subcalls_than_the_run_has_left_are_refused_before_the_first(open_desk: Open) -> None:
    code = "try:\n    llm_query_batched(['x'] * 11)\nexcept Exception as error:\n    print(error)"
    with ScriptedServer([block(code), block("FINAL(1)")]) as server:
        outcome = open_desk(server, max_subcalls=10).ask("What?", {"notes": NOTES})
        told = server.requests[1].last("user")

    assert "11 model calls, and this run has 10 of 10 left: 1 too many" in told
    assert outcome.document["usage"]["subcalls"] == 0


def test_of_several_blocks_the_first_is_run_and_the_model_is_told(open_desk: Open) -> None:
    several = Reply(f"{block('a = 1')}\n{block('FINAL(a + 1)')}", whole=True)
    with ScriptedServer([several, block("FINAL(a)")]) as server:
        outcome = open_desk(server).ask("What?", {"notes": NOTES})
        told = server.requests[1].last("user")

    assert "Only your first block was run" in told
    assert outcome.value == 1
