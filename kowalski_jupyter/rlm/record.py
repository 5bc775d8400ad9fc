"""What a run's events say that is needed to go through it again."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

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


class Record:
    """A run as its events tell it.

    Args:
        events: all of them, or those up to where the run was broken off.

    Attributes:
        started: its first event.
        model: its root model, or None if it never came to have one.
        replies: of the root model, in order.
        known: replies to sub-calls by key (memo.py).
        failures: why sub-calls failed, by prompt.
        children: the runs that its code has started.
        notes: what the user told it, each with the turn that was going on.
        decisions: the user's word on blocks, by cell.
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
        self.known: dict[str, str] = {}
        self.failures: dict[str, str] = {}
        self.children: list[str] = []
        self.notes: list[tuple[int, str]] = []
        self.decisions: dict[str, ev.ApprovalGiven] = {}
        self.limits: dict[str, float] = {}
        self.cells: dict[str, ev.CellFinished] = {}
        self.outputs: dict[str, str] = {}
        self.answered: ev.Answered | None = None
        self.finished: ev.RunFinished | None = None
        self._turn = 0
        self._reasoning = ""
        self._calls: dict[int, ev.SubcallStarted] = {}
        for event in events:
            self.read(event)

    @property
    def turns(self) -> int:
        """How many turns have a reply."""
        return max((reply.turn for reply in self.replies if not reply.fold), default=0)

    def replies_after(self, earlier: Sequence[RecordedReply]) -> Sequence[RecordedReply]:
        """Return the replies to go on from, where this run was to go through those of an `earlier` one first.

        If it was broken off before it had got to all of them, the earlier ones are those that tell more.
        """
        own = [reply.text for reply in self.replies]
        return earlier if [reply.text for reply in earlier[: len(own)]] == own else self.replies

    @functools.singledispatchmethod
    def read(self, event: ev.Event) -> None:
        """Take the next event. Types that a rerun does not need are passed over."""

    @read.register
    def _(self, event: ev.ModelReady) -> None:
        self.model = self.model or event

    @read.register
    def _(self, event: ev.TurnStarted) -> None:
        self._turn, self._reasoning = event.turn, ""

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
        self._calls[event.call] = event
        if event.run:
            self.children.append(event.run)

    @read.register
    def _(self, event: ev.SubcallFinished) -> None:
        asked = self._calls.get(event.call)
        if asked is None:
            return
        if event.error:
            self.failures.setdefault(asked.prompt, event.error)
            return
        if asked.key:
            self.known[asked.key] = event.reply

    @read.register
    def _(self, event: ev.Told) -> None:
        self.notes.append((self._turn, event.text))

    @read.register
    def _(self, event: ev.ApprovalGiven) -> None:
        self.decisions[event.cell] = event

    @read.register
    def _(self, event: ev.LimitsRaised) -> None:
        self.limits |= event.limits

    @read.register
    def _(self, event: ev.Answered) -> None:
        self.answered = event

    @read.register
    def _(self, event: ev.RunFinished) -> None:
        self.finished = event


def branch(replies: Sequence[RecordedReply], turn: int, text: str | None) -> list[RecordedReply]:
    """Return the replies up to a turn whose reply is `text` instead, or is asked for anew if that is None."""
    kept = [reply for reply in replies if reply.turn < turn or (reply.fold and reply.turn == turn)]
    return kept if text is None else [*kept, RecordedReply(turn, text)]
