"""Properties of the parser over made-up replies: any pieces, any text, linear time."""

from __future__ import annotations

import random
import time
from itertools import pairwise

import pytest

from kowalski_jupyter.rlm.protocol import Block, ReplyStream, parse_reply

FRAGMENTS = [
    "```", "````", "~~~", "`", "repl", "python", "json", "\n", "\n", "\n", "\r", "\r\n", " ", "    ", "\t", "- ", "1. ",
    "x = 1", "'", '"', '"""', "'''", "#", "\\", "%%", "!", "(", ")", "FINAL(", "FINAL_VAR(", "a)", "**", "x",
    "<think>", "</think>", "<thinking>", "[THINK]", "[/THINK]", "<|channel|>", "analysis", "final", "<|message|>",
    "<|end|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<function=python>", "<parameter=code>", "</parameter>",
    "◁think▷", "◁/think▷", "<seed:think>", "</seed:think>", "<think a='b'>", "<|channel>", "<channel|>",
    "<|START_THINKING|>", "<|END_THINKING|>",
    '{"name": "python", "arguments": "x"}', "<", "[", "◁", "数", "\ud800", "\x00", "\u2028",
]  # fmt: skip
CLOSING = ("</think>", "[/THINK]", "◁/think▷", "</seed:think>", "<channel|>", "<|END_THINKING|>")


def made_up(seed: int) -> str:
    chance = random.Random(seed)  # noqa: S311 - made-up text, no secret
    return "".join(chance.choice(FRAGMENTS) for _ in range(chance.randint(1, 60)))


def pieces(text: str, seed: int) -> list[str]:
    chance = random.Random(seed)  # noqa: S311 - made-up text, no secret
    cuts = sorted(chance.randint(0, len(text)) for _ in range(chance.randint(0, 12)))
    return [text[start:end] for start, end in pairwise([0, *cuts, len(text)])]


def runnable(stream: ReplyStream, *, open_too: bool = False) -> tuple[Block, ...]:
    return tuple(
        Block(segment.language, segment.text)
        for segment in stream.segments
        if segment.kind == "code" and segment.language and segment.text and (segment.closed or open_too)
    )


@pytest.mark.parametrize("block", range(10))
def test_any_pieces_give_the_same_segments_and_blocks(block: int) -> None:
    for seed in range(block * 100, block * 100 + 100):
        text = made_up(seed)
        for finish_reason in ("stop", "length"):
            whole, split = ReplyStream(), ReplyStream()
            whole.feed(text)
            for piece in pieces(text, seed):
                split.feed(piece)
                assert split.segments is not None
            assert split.segments == whole.segments, repr(text)
            split.finish(finish_reason)
            whole.finish(finish_reason)
            assert split.segments == whole.segments, repr(text)
            blocks = runnable(split, open_too=finish_reason == "stop")
            assert parse_reply(text, finish_reason=finish_reason).blocks == blocks, repr(text)


@pytest.mark.parametrize("block", range(10))
def test_a_closed_block_stays_what_it_is(block: int) -> None:
    for seed in range(block * 100, block * 100 + 100):
        text = made_up(seed)
        for tag in CLOSING:  # without an opening tag they make a thought of what was before
            text = text.replace(tag, "")
        stream = ReplyStream()
        closed: tuple[Block, ...] = ()
        for piece in pieces(text, seed):
            stream.feed(piece)
            assert runnable(stream)[: len(closed)] == closed, repr(text)
            closed = runnable(stream)
        assert parse_reply(text).blocks[: len(closed)] == closed, repr(text)


def test_code_shows_while_it_is_written_and_its_closing_fence_never_does() -> None:
    stream = ReplyStream()
    shown = []
    for character in "Look:\n```repl\nprint(1)\n```\nDone":
        stream.feed(character)
        shown.append([(segment.kind, segment.text, segment.closed) for segment in stream.segments])
    assert [("prose", "Look:", True), ("code", "prin", False)] in shown
    assert [("prose", "Look:", True), ("code", "print(1)", True), ("prose", "Do", False)] in shown
    assert not any("`" in text for segments in shown for _, text, _ in segments)


def test_a_closed_block_can_run_before_the_reply_has_ended() -> None:
    stream = ReplyStream()
    stream.feed("```repl\nlook()\n```")
    assert runnable(stream) == ()
    stream.feed("\n")
    assert runnable(stream) == (Block("python", "look()"),)


PATHOLOGICAL = {
    "back-ticks": "`",
    "back-ticks and blanks": "` ",
    "fences": "```\n",
    "tagged fences": "```repl\nx\n",
    "bullets with fences": "- ```\n",
    "fences in strings": "```repl\n'''\n```\n",
    "triple quotes": "'''\n```\n",
    "comments": "#`",
    "parentheses": "(",
    "FINAL with parentheses": "FINAL(((",
    "FINAL unclosed": "FINAL(\n",
    "FINAL spoken of": "FINAL(x) y\n",
    "quotes": '" (',
    "escapes": '\\"',
    "opening tags": "<think>",
    "tags with attributes": "<think a>",
    "tags never closed": "<think a ",
    "Kimi's marks": "◁think▷ ◁/think",
    "closing tags": "</think>",
    "closing tags on lines": "</think>\n",
    "thoughts": "<think>a</think>",
    "channels": "<|channel|>",
    "tool calls": "<tool_call>{</tool_call>",
    "tool parameters": "<parameter=a>",
    "angle brackets": "<",
    "blanks": " ",
    "newlines": "\n",
    "indented code": "\n    ```\n",
    "inline code": "`import os` ",
    "prose": "the quick brown fox jumps over the lazy dog\n",
}
OPENINGS = {
    "": "",
    "in code": "```repl\n",
    "in a string": "```repl\n'''\n",
    "in FINAL": 'FINAL("',
    "in a call": "<tool_call>",
}


def seconds(text: str) -> float:
    best = float("inf")
    for _ in range(2):
        start = time.process_time()
        parse_reply(text)
        best = min(best, time.process_time() - start)
    return best


@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS.keys())
@pytest.mark.parametrize("unit", PATHOLOGICAL.values(), ids=PATHOLOGICAL.keys())
def test_time_is_linear(unit: str, opening: str) -> None:
    size = 2_000
    small, large = (seconds(opening + unit * (length // len(unit))) for length in (size, 8 * size))
    assert large < 8 * 4 * small + 0.01, "8 times the text may take 8 times as long, not 64 times"


def test_growing_lines_and_fences_take_linear_time() -> None:
    def nested(count: int) -> str:
        return "".join("`" * width + "repl\n" for width in range(3, count))

    small, large = seconds(nested(150)), seconds(nested(425))  # 8 times the characters
    assert large < 8 * 4 * small + 0.01


def test_feeding_one_long_line_by_the_character_takes_linear_time() -> None:
    def feed(count: int) -> float:
        stream = ReplyStream()
        start = time.process_time()
        for _ in range(count):
            stream.feed("x")
        return time.process_time() - start

    small, large = min(feed(10_000) for _ in range(3)), min(feed(80_000) for _ in range(3))
    assert large < 8 * 4 * small + 0.01
