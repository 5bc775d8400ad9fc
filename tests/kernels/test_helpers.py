"""The helpers that a run's code finds: in a real kernel those that ask, directly those that do not."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from kowalski_jupyter.kernels.prelude.chunks import chunks
from kowalski_jupyter.kernels.prelude.search import search

from .support import FakeRun, opened, until

PROSE = "".join(
    f"# Part {part}\r\n\r\n" + "".join(f"Sentence {n} of part {part} says … something. " for n in range(40)) + "\n\n"
    for part in range(30)
)


@pytest.mark.parametrize("size", [1, 2, 7, 100, 1_000, 10**9])
def test_chunks_put_together_are_the_text(size: int) -> None:
    numbers = random.Random(size)  # noqa: S311 - no secret
    wild = "".join(numbers.choices("ab \n\t\r.!?#é\U0001f600", k=5_000))
    for text in (PROSE, wild, "x" * 5_000, "\n" * 300, "a", "## " * 500):
        parts = chunks(text, size=size)
        assert "".join(parts) == text
        assert all(0 < len(part) <= size for part in parts)
    assert chunks("", size=size) == []


def test_chunks_are_cut_where_the_text_is() -> None:
    parts = chunks(PROSE, size=2_500)
    assert all(part.startswith("# Part") for part in parts)
    paragraphs = "\n\n".join(f"{n} " + "word " * 30 for n in range(50))
    assert all(re.match(r"\d+ word", part) for part in chunks(paragraphs, size=400))
    lines = "\n".join(f"{n},some,thing" for n in range(1_000))
    assert all(part.endswith(("\n", "999,some,thing")) for part in chunks(lines, size=333))
    sentences = "This is one. " * 500
    assert {part[-13:] for part in chunks(sentences, size=100)} == {"This is one. "}
    assert all(part.endswith(" ") for part in chunks("word " * 500, size=33))


def test_chunks_overlap() -> None:
    parts = chunks(PROSE, size=1_000, overlap=200)
    assert all(len(part) <= 1_000 for part in parts)
    at = 0
    for one, other in pairwise(parts):
        at = PROSE.index(one, at)
        start = PROSE.index(other, at + 1)
        assert at + len(one) - 200 <= start < at + len(one)
    assert chunks(list(range(10)), size=4, overlap=1) == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    assert "".join(part[:1] for part in chunks("abcdef", size=2, overlap=1)[1:]) == "bcde"


def test_chunks_of_lists_and_tables() -> None:
    assert chunks([1, 2, 3], size=2) == [[1, 2], [3]]
    assert [len(part) for part in chunks(list(range(120)))] == [50, 50, 20]
    assert [part["a"].tolist() for part in chunks(pd.DataFrame({"a": [1, 2, 3]}), 2)] == [[1, 2], [3]]


WRONG_CALLS = {
    "chunks('a', size=0)": "1 or more, not 0",
    "chunks('a', size=10, overlap=10)": "less than size",
    "chunks({'a': 1})": "list(data.items())",
    "chunks(5)": "not int",
    "chunks('a', length=5)": "The form is chunks(data, size=None, overlap=0)",
    "search('a', '')": "not empty",
    "search(b'a', 'a')": "decode",
    "search(5, 'a')": "not int",
    "search('a', 'a', limit=-1)": "limit",
    "map_query('text', '{item}')": "chunks(text)",
    "map_query({'a': 1}, '{item}')": "list(data.items())",
    "map_query(['a'], 'no place')": "has to contain {item}",
    "map_query(['a'], 5)": "template is a str",
    "map_query(['a'], lambda item: item * 1.0)": "can't multiply",
    "map_query(['a'], len)": "has to return a str",
    "map_query([QueryError('gone')], '{item}')": "item 0 is a QueryError (gone)",
    "map_query(['a'], '{item}', retries=-1)": "retries",
    "vote('a', n=0)": "1 or more, not 0",
    "vote(['a'])": "one str",
    "tree_reduce('text', 'merge')": "chunks(text)",
    "tree_reduce(['a', QueryError('gone')], 'merge')": "text 1 is a QueryError (gone)",
    "tree_reduce(['a', 5], 'merge')": "text 1 is int",
    "tree_reduce([], 'merge')": "there are no texts",
    "tree_reduce(['a'])": "The form is tree_reduce(texts, instruction, size=12000, *, model=None, max_tokens=None)",
}


def test_wrong_calls_say_what_is_right(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            for code, words in WRONG_CALLS.items():
                assert (await session(code)).status == "error", code
                assert words in session.text("error"), code
            assert not session.run.prompts

    asyncio.run(scenario())


def test_search_in_a_text() -> None:
    text = "alpha " * 100 + "The Needle is here. " + "omega " * 100 + "needle (2) costs $5.00 in C++."
    hits = search(text, "needle", around=20)
    assert [text[hit["start"] : hit["end"]] for hit in hits] == [hit["text"] for hit in hits]
    assert ["Needle is here" in hits[0]["text"], "needle (2)" in hits[1]["text"], len(hits)] == [True, True, 2]
    for plain in ("$5.00", "c++", "(2)", "NEEDLE (2)"):
        assert len(search(text, plain)) == 1, plain
    assert search(text, r"needle \(\d\)", around=0)[0]["text"] == "needle (2)"
    assert search(text, re.compile("NEEDLE")) == []
    assert search(text, "(?s)here.*omega")
    assert search(text, "x*") == []
    assert len(search("ab " * 1_000, "ab", around=0, limit=7)) == 7
    assert len(search("ab " * 10, "ab", around=500)) == 1  # the first passage shows them all


def test_search_in_lists_and_dicts() -> None:
    assert search(["nothing", "a Needle"], "needle") == [{"index": 1, "start": 0, "end": 8, "text": "a Needle"}]
    assert search({"one": "x", "two": "needle"}, "needle")[0]["key"] == "two"
    records = [{"name": "Ada", "tags": ["maths", 1843]}, {"name": "Bob", "born": None}]
    assert search(records, "MATHS") == [{"index": 0, "item": records[0]}]
    assert search(records, "1843") == [{"index": 0, "item": records[0]}]
    assert search(records, "name") == []
    with pytest.raises(TypeError, match="to_dict"):
        search(pd.DataFrame({"a": ["x"]}), "x")


def test_map_query_asks_again_only_what_failed(root: Path) -> None:
    seen: Counter[str] = Counter()

    async def reply(prompt: str) -> Any:
        seen[prompt] += 1
        if "never" in prompt or ("once" in prompt and seen[prompt] == 1):
            raise ValueError(f"bad reply {seen[prompt]}")
        return prompt.upper()

    async def scenario() -> None:
        async with opened(root, run=FakeRun(reply=reply)) as session:
            code = (
                "map_query(['a{b}', 'once', 'never {item}', {'k': '}{'}], 'Q {x} {item}?', schema={'type': 'string'})"
            )
            value = await session.value(f"[str(r) for r in {code}]")
            assert value == """['Q {X} A{B}?', 'Q {X} ONCE?', 'bad reply 2', 'Q {X} {"K": "}{"}?']"""
            assert seen == {"Q {x} a{b}?": 1, "Q {x} once?": 2, "Q {x} never {item}?": 2, 'Q {x} {"k": "}{"}?': 1}
            schema = {"schema": {"type": "string"}}
            assert session.run.options == [schema] * 4 + [schema | {"sample": 1}] * 2
            assert await session.value("isinstance(map_query(['never'], '{item}', retries=0)[0], QueryError)") == "True"
            assert await session.value("map_query([3, 4], lambda n: f'n={n}')") == "['N=3', 'N=4']"
            assert await session.value("map_query([], '{item}')") == "[]"

    asyncio.run(scenario())


def test_a_refused_batch_is_an_error_and_a_refused_second_attempt_keeps_the_rest(root: Path) -> None:
    async def reply(prompt: str) -> str:
        if prompt == "1":
            raise ValueError("bad reply")
        return prompt

    async def scenario() -> None:
        async with opened(root, run=FakeRun(reply=reply, most=5)) as session:
            assert (await session("map_query(range(6), '{item}')")).reason == "QueryError"
            assert "6 sub-calls are asked for, and 5 are left" in session.text("error")
            assert session.run.prompts == []
            assert await session.value("[str(r) for r in map_query(range(5), '{item}')]") == (
                "['0', 'bad reply', '2', '3', '4']"
            )
            assert (await session("tree_reduce(['a', 'b'], 'merge')")).reason == "QueryError"

    asyncio.run(scenario())


def test_vote(root: Path) -> None:
    replies = {
        "major": ["Blue", " red. ", "Red", "blue!", "RED"],
        "tie": ["b", "a", "a", "b"],
        "json": [{"x": 1, "y": 2}, {"y": 2, "x": 1}, {"x": 2}],
        "some": [ValueError("gone"), "ok", ValueError("gone")],
        "none": [ValueError("first gone"), ValueError("second gone")],
    }

    async def scenario() -> None:
        run = FakeRun()

        async def reply(prompt: str) -> Any:
            outcome = replies[prompt][run.prompts.count(prompt) - 1]
            if isinstance(outcome, ValueError):
                raise outcome
            return outcome

        run.reply = reply
        async with opened(root, run=run) as session:
            assert await session.value("vote('major', n=5, max_tokens=9)") == "' red. '"
            assert run.prompts == ["major"] * 5
            assert all(options["max_tokens"] == 9 for options in run.options)
            assert await session.value("vote('tie', 4)") == "'b'"
            assert await session.value("vote('json', schema={'type': 'object'})") == "{'x': 1, 'y': 2}"
            assert await session.value("vote('some')") == "'ok'"
            assert (await session("vote('none', n=2)")).reason == "QueryError"
            assert "first gone" in session.text("error")

    asyncio.run(scenario())


def test_tree_reduce(root: Path) -> None:
    async def scenario() -> None:
        run = FakeRun()

        async def reply(prompt: str) -> str:
            instruction, *parts = prompt.split("\n\n")
            assert instruction == "Add."
            if "13" in prompt:
                raise ValueError("unlucky")
            return str(sum(int(part.split("---\n")[1]) for part in parts))

        run.reply = reply
        async with opened(root, run=run) as session:
            assert await session.value("tree_reduce([str(n) for n in range(10)], 'Add.', size=3)") == "'45'"
            assert [prompt.count("--- Text") for prompt in run.prompts] == [3, 3, 3, 2, 2, 2]
            assert await session.value("tree_reduce(['5'], 'Add.')") == "'5'"
            assert await session.value("tree_reduce(['5'] * 7, 'Add.', size=1)") == "'35'"
            assert (await session("tree_reduce(['13', '1'], 'Add.')")).reason == "QueryError"
            assert "unlucky" in session.text("error")

    asyncio.run(scenario())


def test_an_interrupted_vote_ends_in_the_run_too(root: Path) -> None:
    async def scenario() -> None:
        async def reply(prompt: str) -> str:
            if prompt == "slow":
                await asyncio.Event().wait()
            return prompt

        run = FakeRun(reply=reply)
        async with opened(root, run=run) as session:
            cell = asyncio.create_task(session("vote('slow', n=9)"))
            await until(lambda: len(run.prompts) == 9)
            cell.cancel()
            await asyncio.wait([cell])
            assert await session.value("vote('fast')") == "'fast'"
            assert run.cancelled == 9

    asyncio.run(scenario())
