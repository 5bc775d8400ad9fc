"""What is measured: code that a scripted root model has run, and figures read from the server's clock.

The scripted model answers at once (sub-calls of the batch: after 50 ms), so what is left is overhead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import nan
from statistics import median

from tests.support.scripted_server import Request

SUBCALL = "SUBCALL"
MEGABYTE = 1_000_000
CALLS = 100
MANY_CALLS = 500
CHILDREN = 8


@dataclass(frozen=True, slots=True)
class Trial:
    """One run as it was seen. Times in seconds on the machine's monotonic clock, memory in bytes.

    `spawned` is when the process was started that asked, `asked` and `answered` are taken in it. `bare` is what the
    same sub-calls took a bare asyncio loop, right after; 0 if that was not measured.
    """

    spawned: float
    asked: float
    answered: float
    root: list[Request]
    subcalls: list[Request]
    added_memory: int = 0
    bare: float = 0.0

    @property
    def gaps(self) -> list[float]:
        """From the end of each root reply to the arrival of the next root request."""
        return _gaps(self.root)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A run: `codes` are the root's replies, `answer` the expression it ends with, `expected` its value.

    `context_size` is the context's size in bytes, `subcall_seconds` what each sub-call takes. With `bare_calls` that
    many sub-calls are also made by a bare loop. The root model goes on for `chatter` words after each block, a word
    every `word_seconds`. With `by_turn` its replies go by the length of the chat, since child runs have chats too.
    """

    codes: tuple[str, ...]
    answer: str
    expected: str
    context_size: int = 1000
    subcall_seconds: float = 0.0
    bare_calls: int = 0
    chatter: int = 0
    word_seconds: float = 0.0
    by_turn: bool = False


TEN_TURNS = Scenario(
    ("total = 0\nprint(len(context))", *(f"total += {turn}\nprint('turn', {turn}, total)" for turn in range(1, 10))),
    answer="total",
    expected="45",
)
IN_SEQUENCE = Scenario(
    (f"replies = [llm_query(f'{SUBCALL} {{i}}') for i in range({CALLS})]\nprint(len(replies))",),
    answer="len(replies)",
    expected=str(CALLS),
)
IN_A_BATCH = Scenario(
    (f"replies = llm_query_batched([f'{SUBCALL} {{i}}' for i in range({CALLS})])\nprint(len(replies))",),
    answer="len(replies)",
    expected=str(CALLS),
    subcall_seconds=0.05,
)
FIFTY_TURNS = Scenario(
    ("total = 0", *(f"total += {turn}\nprint('turn', {turn}, total)" for turn in range(1, 50))),
    answer="total",
    expected="1225",
)
IN_A_LARGE_BATCH = Scenario(
    (f"replies = llm_query_batched([f'{SUBCALL} {{i}}' for i in range({MANY_CALLS})])\nprint(len(replies))",),
    answer="len(replies)",
    expected=str(MANY_CALLS),
    subcall_seconds=0.05,
    bare_calls=MANY_CALLS,
)
TALKATIVE = Scenario(("x = 1",), answer="x", expected="1", chatter=200, word_seconds=0.005)
LARGE_CONTEXT = Scenario(
    ("print(len(context))", "count = context.count('needle')\nprint(count)", "print(context[-60:])"),
    answer="count",
    expected="100",
    context_size=100 * MEGABYTE,
)


def recursive(batch: str) -> Scenario:
    """Return the scenario of eight child runs; `batch` is the expression that asks them, see `Implementation`.

    A child and its root have the same replies; its data tells a child that it is one.
    """
    code = f"result = 'child' if context.startswith('CHILD') else ','.join({batch})"
    return Scenario((code,), answer="result", expected=",".join(["child"] * CHILDREN), by_turn=True)


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the report: `read` takes it from a trial, in `unit`; `target` is what ours is held to."""

    name: str
    unit: str
    read: Callable[[Trial], float] = lambda _: nan
    target: float | None = None


FIRST_START = Figure("first start: process to first root request", "s", lambda t: t.root[0].started - t.spawned)
COLD_RUN = Figure("ten turns, first run of a process", "s", lambda t: t.answered - t.asked)
RIGHT_AFTER = (Figure("ten turns, right after another run", "s", lambda t: t.answered - t.asked),)
WARM = (
    Figure("ten turns, warm", "s", lambda t: t.answered - t.asked, target=0.3),
    Figure("start of a warm run: asked to first root request", "ms", lambda t: 1e3 * (t.root[0].started - t.asked)),
    Figure("turn gap: root reply to next root request", "ms", lambda t: 1e3 * median(t.gaps), target=3),
    Figure(
        "end of a run: last root reply to answer",
        "ms",
        lambda t: 1e3 * (t.answered - (t.root[-1].ended or 0)),
        target=5,
    ),
)
SEQUENCE = (
    Figure("sub-call, of 100 in sequence, with the server", "ms", lambda t: 1e3 * _span(t) / (CALLS - 1), 1.5),
    Figure("sub-call gap: reply to next request", "ms", lambda t: 1e3 * median(_gaps(t.subcalls)), target=1),
)
BATCH = (
    Figure("batch of 100 x 50 ms, within its turn", "s", lambda t: t.gaps[0], target=0.2),
    Figure("batch of 100 x 50 ms, at the server", "s", lambda t: (t.subcalls[-1].ended or 0) - t.subcalls[0].started),
)
FIFTY = (
    Figure("fifty turns: turn gap of the first ten", "ms", lambda t: 1e3 * median(t.gaps[:10])),
    Figure("fifty turns: turn gap of the last ten", "ms", lambda t: 1e3 * median(t.gaps[-10:]), target=3),
)
LARGE_BATCH = (
    Figure("batch of 500 x 50 ms, within its turn", "s", lambda t: t.gaps[0]),
    Figure("batch of 500 x 50 ms, against a bare loop", "x", lambda t: t.gaps[0] / t.bare, target=1.3),
)
TALK = (
    Figure("200 words after each of two blocks: words written", "words", lambda t: sum(r.chunks for r in t.root)),
    Figure("200 words after each of two blocks: whole run", "s", lambda t: t.answered - t.asked),
)
RECURSION = (
    Figure(
        "eight recursive children, within their turn",
        "s",
        lambda t: t.root[-1].started - (t.root[0].ended or 0),
        target=1,
    ),
)
RECURSION_MEMORY = (
    Figure("memory added for each of eight children", "MB", lambda t: t.added_memory / CHILDREN / MEGABYTE, target=40),
)
CONTEXT = (
    Figure("100 MB context ready: asked to first root request", "s", lambda t: t.root[0].started - t.asked, target=0.5),
    Figure("100 MB context, slowest turn gap", "ms", lambda t: 1e3 * max(t.gaps)),
    Figure("100 MB context, whole run of four turns", "s", lambda t: t.answered - t.asked),
)
MEMORY = (Figure("100 MB context, memory added at most", "MB", lambda t: t.added_memory / MEGABYTE, target=150),)


def _gaps(requests: Sequence[Request]) -> list[float]:
    """From the end of each reply to the arrival of the next request."""
    return [after.started - (before.ended or after.started) for before, after in pairwise(requests)]


def _span(trial: Trial) -> float:
    """From the arrival of the first sub-call to that of the last."""
    return trial.subcalls[-1].started - trial.subcalls[0].started
