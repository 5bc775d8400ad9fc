"""A recorded run that is gone through again: what its record says is put to the new run as it comes to it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kowalski_jupyter.kernels.base import Value
from kowalski_jupyter.kernels.values import decode_answer
from kowalski_jupyter.rlm import events as ev
from kowalski_jupyter.rlm.course import Course
from kowalski_jupyter.rlm.record import Record, turn_of
from kowalski_jupyter.rlm.run import Run
from kowalski_jupyter.rlm.text import head_and_tail, one_line

EventsOf = Callable[[str], Sequence[ev.Event]]
"""Returns a run's events, empty if it is not known."""

_DIFF_LINES = 40


@dataclass(slots=True)
class Past:
    """All that is recorded of a run, its child runs and the runs that it continued.

    Attributes:
        record: of the run itself.
        course: what the models have said to the run and to its child runs.
        notes: what the user told it, each with the turn that was going on.
        decisions: the user's word on blocks, by cell.
        judgments: why the answer of a turn was not taken, empty if it was, by turn.
    """

    record: Record
    course: Course
    notes: list[tuple[int, str]]
    decisions: dict[str, ev.ApprovalGiven]
    judgments: dict[int, str]

    @classmethod
    def of(cls, run_id: str, events_of: EventsOf) -> Past:
        """Read a run's record.

        Raises:
            ValueError: there is none, or it has no beginning.
        """

        def record_of(run: str) -> Record | None:
            events = events_of(run)
            return Record(events) if events else None

        record = Record(events_of(run_id))
        past = cls(record, Course.of(record, record_of), [*record.notes], {**record.decisions}, {**record.judgments})
        started = record.started
        if started.origin and events_of(started.origin):
            earlier = cls.of(started.origin, events_of)
            if "turn" in started.options:
                fresh = bool(started.settings.get("fresh"))
                earlier.cut(started.options["turn"], started.options.get("reply"), fresh=fresh)
            past._go_on_with(earlier)
        return past

    def cut(self, turn: int, reply: str | None, *, fresh: bool) -> None:
        """Forget what came from a turn on, and have its reply be `reply` unless that is None (see `Course.cut`)."""
        self.course.cut(turn, reply, fresh=fresh)
        self.notes = [note for note in self.notes if note[0] < turn]
        self.decisions = {cell: word for cell, word in self.decisions.items() if turn_of(cell) < turn}
        self.judgments = {judged: error for judged, error in self.judgments.items() if judged < turn}

    def _go_on_with(self, earlier: Past) -> None:
        """Add what an earlier run had come to and this one, which was to go through it, had not."""
        self.course.go_on_with(earlier.course)
        self.notes += [note for note in earlier.notes if note[0] > self.record.turn]
        self.decisions = earlier.decisions | self.decisions
        self.judgments = earlier.judgments | self.judgments


class Rerun:
    """Does to a run what the user did to the recorded one, and tells where it is another.

    Args:
        past: what is recorded.
        judged: whether somebody is there who has a word on an answer of which the record tells nothing.
    """

    def __init__(self, past: Past, *, judged: bool = False) -> None:
        self._past = past
        self._record = past.record
        self._judged = judged

    def note(self, run: Run, event: ev.Event) -> None:
        """Take the run's next event. What is told of it comes right after it in the log."""
        record = self._record
        match event:
            case ev.RunStarted():
                for text in _changes(record.started.data, event.data):
                    run.log.append(ev.Notice(text))
                self._tell(run, 0)
            case ev.ModelReady() if record.model is not None and event.name != record.model.name:
                then = record.model.name
                run.log.append(ev.Notice(f"What {then} said in the recorded run stands; {event.name} goes on."))
            case ev.TurnStarted():
                self._tell(run, event.turn)
            case ev.ApprovalAsked() if event.cell in self._past.decisions:
                given = self._past.decisions[event.cell]
                run.steering.decide(event.cell, given.decision, given.code)
            case ev.AnswerOffered() if event.turn in self._past.judgments or not self._judged:
                run.steering.judge(self._past.judgments.get(event.turn, ""))
            case _:
                pass

    def record_ended(self) -> str:
        """Say to the user that the record has no reply to what the run asks, and what can be done."""
        record, run = self._record, self._record.started.run
        done = record.finished is not None and record.finished.state == "done"
        how = f"{run} --turn {record.turns}" if done else run
        return f"The record of run {run} has no reply to what is asked here. `%rlm resume {how}` asks a model."

    def _tell(self, run: Run, turn: int) -> None:
        for told, text in self._past.notes:
            if told == turn:
                run.steering.tell(text)


class Replay(Rerun):
    """A rerun that compares.

    Args:
        past: what is recorded.
        value: the recorded answer's value, if it is stored.
    """

    def __init__(self, past: Past, value: Value | None) -> None:
        super().__init__(past)
        self._value = value
        self._cells: list[dict[str, Any]] = []
        self._outputs: dict[str, str] = {}
        self._answer: dict[str, Any] | None = None

    def note(self, run: Run, event: ev.Event) -> None:
        """See `Rerun.note`."""
        super().note(run, event)
        match event:
            case ev.CellOutput():
                self._outputs[event.cell] = self._outputs.get(event.cell, "") + event.text
            case ev.CellFinished():
                self._compare_cell(run, event)
            case ev.Answered():
                self._compare_answer(run, event)
            case ev.ApprovalAsked() if event.cell not in self._past.decisions:
                run.steering.decide(event.cell, "skip")  # the recorded run ended while it waited
            case _:
                pass

    def record_ended(self) -> str:
        """See `Rerun.record_ended`."""
        if not self._cells:
            return super().record_ended()
        cell, run = self._cells[0]["cell"], self._record.started.run
        turn = min(turn_of(cell) + 1, self._record.turns)
        return (
            f"Cell {cell} went another way than recorded, and the record of run {run} has no reply to that. "
            f"`%rlm resume {run} --turn {turn}` asks a model from turn {turn} on."
        )

    def report(self) -> dict[str, Any]:
        """Return what was the same and what was not.

        Keys: ``same`` (the answer, and whether there was one), ``answer`` and each of ``cells`` with ``recorded``,
        ``replayed`` and ``diff``, of the cells only those that went another way, with their name as ``cell``.
        """
        recorded = self._record.answered
        missing = {"recorded": recorded.text, "replayed": None, "diff": "", "same": False} if recorded else None
        answer = self._answer or missing
        return {"same": answer is None or answer["same"], "answer": answer, "cells": self._cells}

    def _compare_cell(self, run: Run, event: ev.CellFinished) -> None:
        then = self._record.cells.get(event.cell)
        if then is None:
            return
        texts = [
            f"[{status}] {output}"
            for status, output in (
                (then.status, self._record.outputs.get(event.cell, "")),
                (event.status, self._outputs.get(event.cell, "")),
            )
        ]
        if texts[0] == texts[1]:
            return
        self._cells.append({"cell": event.cell, **_difference(*texts)})
        if len(self._cells) == 1:
            run.log.append(ev.Notice(f"Cell {event.cell} went another way than recorded:\n{self._cells[0]['diff']}"))

    def _compare_answer(self, run: Run, event: ev.Answered) -> None:
        recorded = self._record.answered
        if recorded is None:
            return
        same = (recorded.value_type, recorded.text) == (event.value_type, event.text)
        if self._value is not None and run.answer is not None:
            same = _equal(self._value, run.answer)
        self._answer = {**_difference(recorded.text, event.text), "same": same}
        if not same:
            run.log.append(ev.Notice(f"The answer is not the recorded one:\n{self._answer['diff']}"))


def _changes(then: Sequence[dict[str, str]], now: Sequence[dict[str, str]]) -> list[str]:
    """Say which variables are described otherwise than they were."""
    before = {item["name"]: f"{item['type']}, {item['summary']}" for item in then}
    after = {item["name"]: f"{item['type']}, {item['summary']}" for item in now}
    return [
        f"{name} is not what it was in the recorded run ({one_line(before[name], 100)}): now {one_line(text, 100)}."
        for name, text in after.items()
        if name in before and before[name] != text
    ]


def _equal(then: Value, now: Value) -> bool:
    if then.kind != now.kind or then.data == now.data:
        return then.kind == now.kind
    return then.kind == "json" and bool(decode_answer("json", then.data) == decode_answer("json", now.data))


def _difference(recorded: str, replayed: str) -> dict[str, Any]:
    lines = difflib.unified_diff(
        head_and_tail(recorded, 10_000).splitlines(),
        head_and_tail(replayed, 10_000).splitlines(),
        "recorded",
        "replayed",
        lineterm="",
        n=1,
    )
    diff = "\n".join(line for number, line in enumerate(lines) if number < _DIFF_LINES)
    return {"recorded": recorded, "replayed": replayed, "diff": diff}
