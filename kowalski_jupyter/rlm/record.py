"""What a run's events say that is needed to go through it again."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kowalski_jupyter.models.base import Usage
from kowalski_jupyter.rlm import events as ev


@dataclass(frozen=True, slots=True)
class RecordedReply:
    """A reply of the root model: to a turn, or, with `fold`, to the request to sum up what came before one."""

    turn: int
    text: str
    reasoning: str = ""
    finish_reason: str = "stop"
    usage: Usage | None = None
    fold: bool = False


class Outcome(NamedTuple):
    """What code was given for a sub-call: its reply, or why it failed and whether it would have failed again."""

    reply: str
    error: str = ""
    lasting: bool = False


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """A sub-call or a child run that the code of a turn asked for.

    `outcome` is None where it was broken off, and where code that was broken off was told of a failure: another try may
    do better. The other fields are those of `SubcallStarted`.
    """

    turn: int
    prompt: str
    key: str
    model: str
    run: str
    outcome: Outcome | None


class Record:
    """A run as its events tell it.

    Args:
        events: all of them, or those up to where the run was broken off.

    Attributes:
        started: its first event.
        model: its root model, or None if it never came to have one.
        replies: of the root model, in order.
        turn: the last one that began.
        notes: what the user told it, each with the turn that was going on.
        decisions: the user's word on blocks, by cell.
        judgments: why the answer of a turn was not taken, empty if it was, by turn.
        limits: those that the user raised.
        cells: how each cell ended, by its name.
        outputs: what each cell put out, by its name.
        answered: its answer, if there was one.
        finished: its last event, or None if it was broken off.

    Raises:
        ValueError: the events do not begin with the run's start.
    """

    def __init__(self, events: Sequence[ev.Event]) -> None:
        if not events or not isinstance(events[0], ev.RunStarted):
            raise ValueError("The record of this run has no beginning.")
        self.started = events[0]
        self.model: ev.ModelReady | None = None
        self.replies: list[RecordedReply] = []
        self.turn = 0
        self.notes: list[tuple[int, str]] = []
        self.decisions: dict[str, ev.ApprovalGiven] = {}
        self.judgments: dict[int, str] = {}
        self.limits: dict[str, float] = {}
        self.cells: dict[str, ev.CellFinished] = {}
        self.outputs: dict[str, str] = {}
        self.answered: ev.Answered | None = None
        self.finished: ev.RunFinished | None = None
        self._reasoning = ""
        self._asked: dict[int, ev.SubcallStarted] = {}
        self._told: dict[int, Outcome] = {}
        for event in events:
            self.read(event)

    @property
    def turns(self) -> int:
        """How many turns have a reply."""
        return last_turn(self.replies)

    @property
    def calls(self) -> list[RecordedCall]:
        """The sub-calls and child runs of its code, in the order in which they were asked for."""
        return [
            RecordedCall(turn_of(asked.cell), asked.prompt, asked.key, asked.model, asked.run, self._outcome(asked))
            for asked in self._asked.values()
        ]

    def _outcome(self, asked: ev.SubcallStarted) -> Outcome | None:
        told = self._told.get(asked.call)
        return None if told is None or (told.error and asked.cell not in self.cells) else told

    @functools.singledispatchmethod
    def read(self, event: ev.Event) -> None:
        """Take the next event. Types that a rerun does not need are passed over."""

    @read.register
    def _(self, event: ev.ModelReady) -> None:
        self.model = self.model or event

    @read.register
    def _(self, event: ev.TurnStarted) -> None:
        self.turn, self._reasoning = event.turn, ""

    @read.register
    def _(self, event: ev.ReplyDelta) -> None:
        if event.reasoning:
            self._reasoning += event.text

    @read.register
    def _(self, event: ev.ReplyRestarted) -> None:
        del event
        self._reasoning = ""

    @read.register
    def _(self, event: ev.ReplyFinished) -> None:
        usage = None
        if event.prompt_tokens is not None and event.completion_tokens is not None:
            usage = Usage(event.prompt_tokens, event.completion_tokens, event.cached_tokens or 0)
        self.replies.append(RecordedReply(event.turn, event.text, self._reasoning, event.finish_reason, usage))

    @read.register
    def _(self, event: ev.Folded) -> None:
        self.replies.append(RecordedReply(event.turn + 1, event.summary, fold=True))

    @read.register
    def _(self, event: ev.CellOutput) -> None:
        self.outputs[event.cell] = self.outputs.get(event.cell, "") + event.text

    @read.register
    def _(self, event: ev.CellFinished) -> None:
        self.cells[event.cell] = event

    @read.register
    def _(self, event: ev.SubcallStarted) -> None:
        self._asked[event.call] = event

    @read.register
    def _(self, event: ev.SubcallFinished) -> None:
        self._told[event.call] = Outcome(event.reply, event.error, event.lasting)

    @read.register
    def _(self, event: ev.Told) -> None:
        self.notes.append((self.turn, event.text))

    @read.register
    def _(self, event: ev.ApprovalGiven) -> None:
        self.decisions[event.cell] = event

    @read.register
    def _(self, event: ev.AnswerJudged) -> None:
        self.judgments[event.turn] = event.error

    @read.register
    def _(self, event: ev.LimitsRaised) -> None:
        self.limits |= event.limits

    @read.register
    def _(self, event: ev.Answered) -> None:
        self.answered = event

    @read.register
    def _(self, event: ev.RunFinished) -> None:
        self.finished = event


def last_turn(replies: Sequence[RecordedReply]) -> int:
    """Return the last turn that has a reply."""
    return max((reply.turn for reply in replies if not reply.fold), default=0)


def branch(replies: Sequence[RecordedReply], turn: int, text: str | None) -> list[RecordedReply]:
    """Return the replies up to a turn whose reply is `text` instead, or is asked for anew if that is None."""
    kept = [reply for reply in replies if reply.turn < turn or (reply.fold and reply.turn == turn)]
    return kept if text is None else [*kept, RecordedReply(turn, text)]


def turn_of(cell: str) -> int:
    """Return the turn that a cell is of."""
    turn = cell.partition(".")[0]
    return int(turn) if turn else 0
