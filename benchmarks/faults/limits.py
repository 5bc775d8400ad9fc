"""What limits must do inside a turn, and what must not count against them."""

from __future__ import annotations

from benchmarks.faults.case import Case, Outcome, answers, codes, value_of
from benchmarks.implementations import Implementation
from tests.support.scripted_server import Reply

_ENDLESS = "while True:\n    pass"


def _comes_back(outcome: Outcome) -> str:
    if not outcome.root:
        return f"has not asked: {outcome.error}"
    return "is not stopped: only Ctrl+C ends it" if outcome.hung else ""


def _is_cut_off(outcome: Outcome) -> str:
    """The root's reply takes far longer than the run may: its request must be dropped, not waited for."""
    if outcome.hung:
        return "is not stopped"
    if not outcome.root:
        return f"has not asked: {outcome.error}"
    return "" if outcome.root[0].disconnected else "waits for the whole reply, and only then sees that its time is over"


def _slow_reply(implementation: Implementation) -> list[Reply]:
    return [Reply(implementation.write(implementation.finish("'late'")), delay=15.0)]


def _waits(implementation: Implementation) -> list[Reply]:
    code = f"told = {implementation.query(repr('SUBCALL 1'))}"
    return [Reply(implementation.write(code)), Reply(implementation.write(value_of("told", implementation)))]


CASES = (
    Case(
        "endless-cell",
        "A run that may take 4 s ends while its code loops for ever.",
        codes(_ENDLESS, finish="'never'"),
        _comes_back,
        options={"timeout": 4},
        deadline=16,
    ),
    Case(
        "slow-reply",
        "A run that may take 4 s ends while a reply of 15 s is under way.",
        _slow_reply,
        _is_cut_off,
        options={"timeout": 4},  # the start of a process counts
        deadline=30,
    ),
    Case(
        "cell-limit",
        "A cell that reaches its limit of 1 s is stopped; its names and the run go on.",
        codes("kept = 'right'", _ENDLESS, value="kept"),
        answers("right"),
        options={"cell_timeout": 1},
    ),
    Case(
        "waiting-is-free",
        "Waiting 2 s for a sub-call does not count against a cell's limit of 1 s.",
        _waits,
        answers("ok"),
        options={"cell_timeout": 1},
        subcall=lambda _: Reply("ok", delay=2.0),
    ),
    Case(
        "stderr-is-no-error",
        "Ten cells that only warn do not end a run that may have two errors in a row.",
        codes(*[f"import warnings\nwarnings.warn('careful {turn}')" for turn in range(10)], finish="'right'"),
        answers("right"),
        room={"max_errors": 2},
    ),
)
