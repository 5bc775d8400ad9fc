"""A recorded run that is gone through again: what its record says is put to the new run as it comes to it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kowalski_jupyter.kernels.base import Value
from kowalski_jupyter.kernels.values import decode_answer
from kowalski_jupyter.rlm import events as ev
from kowalski_jupyter.rlm.record import Record, branch
from kowalski_jupyter.rlm.replay import Chat
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
        chats: what the root models of the run and of its child runs have said, by what their ids have behind its own.
        known: replies to sub-calls by key.
        failures: why sub-calls failed, by prompt.
    """

    record: Record
    chats: dict[str, Chat] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, run_id: str, events_of: EventsOf) -> Past:
        """Read a run's record.

        Raises:
            ValueError: there is none, or it has no beginning.
        """
        past = cls(Record(events_of(run_id)))
        started = past.record.started
        if started.origin and events_of(started.origin):
            earlier = cls.of(started.origin, events_of)
            if "turn" in started.options:
                earlier.cut(started.options["turn"], started.options.get("reply"))
            past.chats, past.known, past.failures = earlier.chats, earlier.known, earlier.failures
        past._add(run_id, run_id, events_of)
        return past

    def cut(self, turn: int, reply: str | None) -> None:
        """Forget what came from a turn on, and have its reply be `reply` unless that is None."""
        chat = self.chats[""]
        self.chats[""] = Chat(chat.question, branch(chat.replies, turn, reply))

    def _add(self, run_id: str, root: str, events_of: EventsOf) -> None:
        events = events_of(run_id)
        if not events:
            return
        record = Record(events)
        place = run_id.removeprefix(root)
        earlier = self.chats.get(place)
        replies = record.replies if earlier is None else record.replies_after(earlier.replies)
        self.chats[place] = Chat(record.started.question, replies)
        self.known |= record.known
        self.failures |= record.failures
        for child in record.children:
            self._add(child, root, events_of)


class Rerun:
    """Does to a run what the user did to the recorded one, and tells where it is another.

    Args:
        past: what is recorded.
        until: the turn from which on the user wants it to go another way.
    """

    def __init__(self, past: Past, *, until: int | None = None) -> None:
        self._record = past.record
        self._until = until

    def note(self, run: Run, event: ev.Event) -> None:
        """Take the run's next event. What is told of it comes right after it in the log."""
        record = self._record
        match event:
            case ev.RunStarted():
                for text in _changes(record.started.data, event.data):
                    run.log.append(ev.Notice(text))
                self._tell(run, 0)
            case ev.ModelReady() if record.model is not None and event.name != record.model.name:
                run.log.append(ev.Notice(f"The recorded run was answered by {record.model.name}, not {event.name}."))
            case ev.TurnStarted():
                self._tell(run, event.turn)
            case ev.ApprovalAsked() if self._goes_the_same_way(event.turn) and event.cell in record.decisions:
                given = record.decisions[event.cell]
                run.steering.decide(event.cell, given.decision, given.code)
            case _:
                pass

    def _goes_the_same_way(self, turn: int) -> bool:
        return self._until is None or turn < self._until

    def _tell(self, run: Run, turn: int) -> None:
        for told, text in self._record.notes:
            if told == turn and self._goes_the_same_way(turn):
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
            case _:
                pass

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
