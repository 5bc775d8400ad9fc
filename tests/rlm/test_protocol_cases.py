"""The hand-written replies of parse_cases.json: what must run and what is final.

Soft cases are recommendations. All are taken as recommended:

* ``final-unclosed``: a reply that stopped by itself meant what it said; asking again costs a turn.
* ``final-bold``, ``final-space-before-paren``: nothing else could be meant.
* ``final-placeholder``: an answer that names no fact is never right.
* ``final-same-turn``: both are reported, and `FINAL_BESIDE_CODE` lets the loop ask for a confirmation.
* ``bare-python``: prose can compile too; the model is told instead.
* ``tool-qwen-xml``: the call says exactly what to run, so `accept_tool_text` is always on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kowalski_jupyter.rlm.protocol import Block, Final, ReplyStream, parse_reply
from kowalski_jupyter.rlm.protocol.languages import language_of

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "parse_cases.json").read_text())["text_cases"]
DEFAULT_TAGS = ("repl", "python", "py", "python3")
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])


def expected(case: dict[str, Any]) -> tuple[tuple[Block, ...], Final | None]:
    blocks = tuple(Block(block["lang"], block["code"]) for block in case["expect"]["blocks"])
    final = case["expect"]["final"]
    if final is None:
        return blocks, None
    return blocks, Final(final["kind"], next(final[key] for key in ("value", "name", "source") if key in final))


@each_case
def test_case(case: dict[str, Any]) -> None:
    options = {key: case[key] for key in ("finish_reason", "defined") if key in case}
    languages = {language_of(tag) for tag in case.get("exec_langs", DEFAULT_TAGS)}
    reply = parse_reply(case["input"], languages=languages, **options)
    assert (reply.blocks, reply.final) == expected(case)


@each_case
def test_case_with_every_language(case: dict[str, Any]) -> None:
    options = {key: case[key] for key in ("finish_reason", "defined") if key in case}
    reply = parse_reply(case["input"], **options)
    assert (reply.blocks, reply.final) == expected(case)


@each_case
def test_a_reply_that_leads_nowhere_is_told_why(case: dict[str, Any]) -> None:
    options = {key: case[key] for key in ("finish_reason", "defined") if key in case}
    reply = parse_reply(case["input"], **options)
    assert reply.blocks or reply.final or reply.problems


@each_case
def test_case_character_by_character(case: dict[str, Any]) -> None:
    whole, pieces = ReplyStream(), ReplyStream()
    whole.feed(case["input"])
    for character in case["input"]:
        pieces.feed(character)
    assert pieces.segments == whole.segments
    whole.finish(case.get("finish_reason"))
    pieces.finish(case.get("finish_reason"))
    assert pieces.segments == whole.segments
