"""What is measured: code that a scripted root model has run, and figures read from the server's clock.

The scripted model answers at once (sub-calls of the batch: after 50 ms), so what is left is overhead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from tests.support.scripted_server import Request

SUBCALL = "SUBCALL"
MEGABYTE = 1_000_000
CALLS = 100


@dataclass(frozen=True, slots=True)
class Trial:
    """One run as it was seen. Times in seconds on the machine's monotonic clock, memory in bytes.

    `spawned` is when the process was started that asked, `asked` and `answered` are taken in it.
    """

    spawned: float
    asked: float
    answered: float
    root: list[Request]
    subcalls: list[Request]
    added_memory: int = 0

    @property
    def gaps(self) -> list[float]:
        """From the end of each root reply to the arrival of the next root request."""
        return [after.started - (before.ended or after.started) for before, after in pairwise(self.root)]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A run: `codes` are the root's replies, `answer` the expression it ends with, `expected` its value.

    `context_size` is the context's size in bytes, `subcall_seconds` what each sub-call takes.
    """

    codes: tuple[str, ...]
    answer: str
    expected: str
    context_size: int = 1000
    subcall_seconds: float = 0.0


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
LARGE_CONTEXT = Scenario(
    ("print(len(context))", "count = context.count('needle')\nprint(count)", "print(context[-60:])"),
    answer="count",
    expected="100",
    context_size=100 * MEGABYTE,
)


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the report: `read` takes it from a trial, in `unit`; `target` is what ours is held to."""

    name: str
    unit: str
    read: Callable[[Trial], float]
    target: float | None = None


FIRST_START = Figure("first start: process to first root request", "s", lambda t: t.root[0].started - t.spawned)
COLD_RUN = Figure("ten turns, first run of a process", "s", lambda t: t.answered - t.asked)
RIGHT_AFTER = (Figure("ten turns, right after another run", "s", lambda t: t.answered - t.asked),)
WARM = (
    Figure("ten turns, warm", "s", lambda t: t.answered - t.asked, target=0.3),
    Figure("start of a warm run: asked to first root request", "ms", lambda t: 1e3 * (t.root[0].started - t.asked)),
    Figure("turn gap: root reply to next root request", "ms", lambda t: 1e3 * median(t.gaps), target=5),
    Figure("end of a run: last root reply to answer", "ms", lambda t: 1e3 * (t.answered - (t.root[-1].ended or 0))),
)
SEQUENCE = (Figure("sub-call, of 100 in sequence", "ms", lambda t: 1e3 * _span(t) / (CALLS - 1), target=1.5),)
BATCH = (
    Figure("batch of 100 x 50 ms, within its turn", "s", lambda t: t.gaps[0], target=0.2),
    Figure("batch of 100 x 50 ms, at the server", "s", lambda t: (t.subcalls[-1].ended or 0) - t.subcalls[0].started),
)
CONTEXT = (
    Figure("100 MB context ready: asked to first root request", "s", lambda t: t.root[0].started - t.asked, target=0.5),
    Figure("100 MB context, slowest turn gap", "ms", lambda t: 1e3 * max(t.gaps)),
    Figure("100 MB context, whole run of four turns", "s", lambda t: t.answered - t.asked),
)
MEMORY = (Figure("100 MB context, memory added at most", "MB", lambda t: t.added_memory / MEGABYTE, target=150),)


def _span(trial: Trial) -> float:
    """From the arrival of the first sub-call to that of the last."""
    return trial.subcalls[-1].started - trial.subcalls[0].started
