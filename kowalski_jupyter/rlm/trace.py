"""A run's events folded into the document that front ends show (docs/run-format.md)."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

from kowalski_jupyter.rlm import events as ev
from kowalski_jupyter.rlm.text import head_and_tail
from kowalski_jupyter.rlm.turns import Cell, Output, Reply, Turn

_ANSWER_CHARS = 20_000
_TEXT_CHARS = 8_000
_SHORTEST = 100
_SUBCALL_CHARS = 500
_DOCUMENT_CHARS = 90_000
_RICH_CHARS = 400_000
"""Of pictures and tables, besides the texts. The oldest leave first; their place is told by their text."""

_T = TypeVar("_T")
_TAKERS: dict[type[ev.Event], Callable[[Any, Any], None]] = {}


def _on(kind: type[ev.Event]) -> Callable[[_T], _T]:
    """Have a method of `Trace` take events of a kind, twenty times as fast as `functools.singledispatchmethod` does."""

    def register(take: _T) -> _T:
        _TAKERS[kind] = cast("Callable[[Any, Any], None]", take)
        return take

    return register


class Trace:
    """What has happened so far, ready to be shown. Feed it every event of one run, in order."""

    def __init__(self) -> None:
        self.run = ""
        self.state: ev.RunState = "starting"
        self.error = ""
        self._started = ev.RunStarted("", "", "loop", "", [], 0, 0.0)
        self._ended: float | None = None
        self._model: dict[str, str] | None = None
        self._sandbox: str | None = None
        self._notices: list[str] = []
        self._progress: dict[str, Any] | None = None
        self._turns: list[Turn] = []
        self._cells: dict[str, Cell] = {}
        self._calls: dict[int, dict[str, Any]] = {}
        self._callers: dict[int, Turn] = {}
        self._usage = {
            "turns": 0,
            "subcalls": 0,
            "subcalls_finished": 0,
            "subcalls_failed": 0,
            "subcalls_remembered": 0,
            "prompt_tokens": 0,
            "completion_tokens": 0,
        }
        self._answer: dict[str, Any] | None = None
        self._fold: dict[str, Any] | None = None
        self._approval: dict[str, str] | None = None
        self._limits: dict[str, float] = {"turns": 0, "seconds": 0.0}
        self._text_chars = _TEXT_CHARS
        self._rich: deque[tuple[Turn, Output]] = deque()
        self._rich_size = 0

    @classmethod
    def of(cls, events: Iterable[ev.Event]) -> Trace:
        """Return the trace of a list of events."""
        trace = cls()
        for event in events:
            trace.apply(event)
        return trace

    def apply(self, event: ev.Event) -> None:
        """Take the next event. Types without a visible effect are passed over."""
        if (take := _TAKERS.get(type(event))) is not None:
            take(self, event)

    @_on(ev.RunStarted)
    def _(self, event: ev.RunStarted) -> None:
        self.run = event.run
        self._started = event
        self._limits = {"turns": event.max_turns, "seconds": event.max_seconds}

    @_on(ev.Progress)
    def _(self, event: ev.Progress) -> None:
        if event.done is None and event.total is None:
            self._progress = None
            self._notices.append(event.text)
        else:
            self._progress = {"text": event.text, "done": event.done, "total": event.total}

    @_on(ev.Notice)
    def _(self, event: ev.Notice) -> None:
        self._notices.append(event.text)

    @_on(ev.ModelReady)
    def _(self, event: ev.ModelReady) -> None:
        self._progress = None
        self._model = {"name": event.name, "where": event.where}

    @_on(ev.KernelReady)
    def _(self, event: ev.KernelReady) -> None:
        self._sandbox = event.sandbox

    @_on(ev.TurnStarted)
    def _(self, event: ev.TurnStarted) -> None:
        self._end_turn(event.time)
        self.state = "running"
        self._usage["turns"] = event.turn
        self._turns.append(Turn(event.turn, event.time, fold=self._fold))
        self._fold = None

    @_on(ev.Folded)
    def _(self, event: ev.Folded) -> None:
        fold = {
            "turns": event.turn,
            "summary": head_and_tail(event.summary, _TEXT_CHARS),
            "kept": event.kept,
            "seconds": round(event.seconds, 3),
        }
        if self._turns and self._turns[-1].number > event.turn:  # its chat was refused as too long
            self._turns[-1].fold = fold
        else:
            self._fold = fold

    @_on(ev.Told)
    def _(self, event: ev.Told) -> None:
        self._notices.append(f"You added: {event.text}")

    @_on(ev.LimitsRaised)
    def _(self, event: ev.LimitsRaised) -> None:
        raised = ", ".join(f"{name.removeprefix('max_')} {value:g}" for name, value in event.limits.items())
        self._notices.append(f"You raised the limits: {raised}")
        for name in ("turns", "seconds"):
            self._limits[name] = event.limits.get(f"max_{name}", self._limits[name])

    @_on(ev.ApprovalAsked)
    def _(self, event: ev.ApprovalAsked) -> None:
        self._approval = {"cell": event.cell, "language": event.language, "code": event.code}

    @_on(ev.ApprovalGiven)
    def _(self, event: ev.ApprovalGiven) -> None:
        self._approval = None
        if event.decision != "run":
            self._notices.append(f"You {'changed' if event.decision == 'edit' else 'skipped'} the block {event.cell}.")

    @_on(ev.AnswerJudged)
    def _(self, event: ev.AnswerJudged) -> None:
        if event.error:
            self._notices.append(f"The answer was sent back to the model: {event.error}")

    @_on(ev.ReplyDelta)
    def _(self, event: ev.ReplyDelta) -> None:
        turn = self._turns[-1]
        if event.reasoning:
            turn.reasoning += event.text
        else:
            turn.reply.add(event.text)

    @_on(ev.ReplyRestarted)
    def _(self, event: ev.ReplyRestarted) -> None:
        del event
        turn = self._turns[-1]
        turn.reasoning, turn.reply, turn.cells = "", Reply(), []

    @_on(ev.ReplyFinished)
    def _(self, event: ev.ReplyFinished) -> None:
        self._turns[-1].reply.end(event.text, event.finish_reason)
        self._count_tokens(event)

    @_on(ev.CellStarted)
    def _(self, event: ev.CellStarted) -> None:
        turn = self._turns[-1]
        turn.state = "running"
        cell = turn.cell(event)
        cell.state = "running"
        self._cells[cell.id] = cell

    @_on(ev.CellOutput)
    def _(self, event: ev.CellOutput) -> None:
        output = self._cells[event.cell].add_output(event.kind, event.text, event.omitted)
        if event.mime and len(event.data) <= _RICH_CHARS:
            output.rich = {"mime": event.mime, "data": event.data}
            self._rich.append((self._turns[-1], output))
            self._rich_size += len(event.data)
            self._forget_rich()

    @_on(ev.CellFinished)
    def _(self, event: ev.CellFinished) -> None:
        cell = self._cells[event.cell]
        cell.state, cell.seconds = event.status, round(event.seconds, 3)
        if event.status in ("timeout", "died", "interrupted"):
            cell.add_output("error", event.reason)

    @_on(ev.SubcallStarted)
    def _(self, event: ev.SubcallStarted) -> None:
        self._usage["subcalls"] += 1
        row = {
            "id": event.call,
            "state": "waiting",
            "model": event.model,
            "prompt": head_and_tail(event.prompt, _SUBCALL_CHARS),
            "reply": "",
            "seconds": None,
            "run": event.run,
            "remembered": False,
        }
        self._calls[event.call] = row
        self._callers[event.call] = self._turns[-1]
        if event.cell in self._cells:
            self._cells[event.cell].subcalls[event.call] = row

    @_on(ev.SubcallSent)
    def _(self, event: ev.SubcallSent) -> None:
        self._calls[event.call]["state"] = "running"

    @_on(ev.SubcallFinished)
    def _(self, event: ev.SubcallFinished) -> None:
        row = self._calls[event.call]
        row["state"] = "error" if event.error else "ok"
        row["reply"] = head_and_tail(event.error or event.reply, _SUBCALL_CHARS)
        row["seconds"] = round(event.seconds, 3)
        row["remembered"] = event.remembered
        self._callers.pop(event.call).kept = None  # code may leave a call behind that ends in a later turn
        self._usage["subcalls_finished"] += 1
        self._usage["subcalls_failed"] += bool(event.error)
        self._usage["subcalls_remembered"] += event.remembered
        self._count_tokens(event)

    @_on(ev.Feedback)
    def _(self, event: ev.Feedback) -> None:
        if event.trouble:
            self._turns[-1].feedback = event.text

    @_on(ev.Answered)
    def _(self, event: ev.Answered) -> None:
        text = head_and_tail(event.text, _ANSWER_CHARS)
        rich = {"mime": event.mime, "data": event.data} if event.mime and len(event.data) <= _RICH_CHARS else None
        self._answer = {"type": event.value_type, "text": text, "partial": event.partial, "rich": rich}

    @_on(ev.RunFinished)
    def _(self, event: ev.RunFinished) -> None:
        self._end_turn(event.time)
        self.state, self.error = event.state, event.error
        if event.prompt_tokens is not None and event.completion_tokens is not None:
            self._usage |= {"prompt_tokens": event.prompt_tokens, "completion_tokens": event.completion_tokens}
        self._ended = event.time
        self._progress = self._approval = None
        for cell in self._cells.values():
            if cell.state == "running":
                cell.state = "interrupted"
        for row in self._calls.values():
            if row["state"] in ("waiting", "running"):
                row["state"], row["reply"] = "error", "stopped"
        for turn in [*self._turns[-1:], *self._callers.values()]:
            turn.kept = None

    @property
    def answered(self) -> bool:
        """Whether there is an answer, be it a partial one."""
        return self._answer is not None

    def document(self) -> dict[str, Any]:
        """Return the run as docs/run-format.md describes it."""
        return {**self.head(), "turns": self._turn_documents(self._ended or time.time())}

    def head(self) -> dict[str, Any]:
        """Return the document without its turns, which are what makes it long."""
        started = self._started
        now = self._ended or time.time()
        return {
            "version": 1,
            "id": self.run,
            "question": head_and_tail(started.question, _TEXT_CHARS),
            "state": self.state,
            "path": started.path,
            "parent": started.parent,
            "origin": started.origin,
            "error": self.error if self.state == "failed" else None,
            "model": self._model,
            "host": started.host,
            "sandbox": self._sandbox,
            "data": started.data,
            "started": started.time,
            "seconds": round(max(0.0, now - started.time), 3) if started.time else 0.0,
            "limits": dict(self._limits),
            "usage": dict(self._usage),
            "notices": list(self._notices),
            "progress": self._progress,
            "answer": self._answer,
            "approval": self._approval,
        }

    def _turn_documents(self, now: float) -> list[dict[str, Any]]:
        """Return the turns, with texts short enough for all of them to fit into a notebook's file."""
        while True:
            turns = [turn.shown(now, self._text_chars) for turn in self._turns]
            if self._text_chars <= _SHORTEST or sum(turn.length for turn in turns) <= _DOCUMENT_CHARS:
                return [turn.document for turn in turns]
            self._text_chars //= 2

    def _forget_rich(self) -> None:
        """Drop the oldest pictures and tables until the rest has room."""
        while self._rich_size > _RICH_CHARS:
            turn, output = self._rich.popleft()
            assert output.rich is not None  # noqa: S101 - it is dropped here alone
            self._rich_size -= len(output.rich["data"])
            output.rich = turn.kept = None

    def _end_turn(self, now: float) -> None:
        if self._turns and self._turns[-1].ended is None:
            self._turns[-1].ended, self._turns[-1].state = now, "done"

    def _count_tokens(self, event: ev.ReplyFinished | ev.SubcallFinished) -> None:
        self._usage["prompt_tokens"] += event.prompt_tokens or 0
        self._usage["completion_tokens"] += event.completion_tokens or 0
