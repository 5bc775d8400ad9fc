"""A run as the service holds it, whether it goes on, has ended, or was read from the store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kowalski_jupyter.kernels.base import DataItem, Value
from kowalski_jupyter.rlm.events import Event, RunFinished
from kowalski_jupyter.rlm.log import EventLog
from kowalski_jupyter.rlm.run import Run
from kowalski_jupyter.rlm.text import one_line
from kowalski_jupyter.rlm.trace import Trace


@dataclass(slots=True)
class ToldRun:
    """A run of which only the events are known: a child run, or one from the store."""

    id: str
    log: EventLog
    answer: Value | None = None
    data: Sequence[DataItem] = ()
    model_lost: bool = False


class LiveRun:
    """A run, its task and its trace."""

    def __init__(self, run: Run | ToldRun, trace: Trace) -> None:
        self.run = run
        self.trace = trace
        self.task: asyncio.Task[None] | None = None

    @property
    def id(self) -> str:
        """Its name."""
        return self.run.id

    @property
    def log(self) -> EventLog:
        """Its events."""
        return self.run.log

    @property
    def answer(self) -> Value | None:
        """Its answer, once there is one."""
        return self.run.answer

    @property
    def parent(self) -> str:
        """The run whose code has started it, if it is a child run."""
        return getattr(self.log.events[0], "parent", "") if self.log.events else ""

    @property
    def out_of_hand(self) -> str:
        """Why it cannot be steered or stopped by its id here, in words; empty if it can, or has ended."""
        if self.task is not None or self.log.finished:
            return ""
        if self.parent:
            return f"Run {self.id} is a child of run {self.parent}: do it to that one."
        return f"Run {self.id} goes on in another process: do it there. `%rlm attach {self.id}` follows it here."

    def cancel(self) -> None:
        """Stop the run if it is still going on; returns at once."""
        if self.task is not None and not self.log.finished:
            self.task.cancel()

    def summary(self) -> dict[str, Any]:
        """Return the run as one row of the panel's list (docs/run-format.md, `IRunSummary`)."""
        document = self.trace.head()
        answer = document["answer"]
        return {
            "id": self.id,
            "parent": document["parent"],
            "question": one_line(document["question"], 200),
            "state": document["state"],
            "error": document["error"],
            "model": document["model"] and document["model"]["name"],
            "turn": document["usage"]["turns"],
            "max_turns": document["limits"]["turns"],
            "subcalls": document["usage"]["subcalls"],
            "started": document["started"],
            "seconds": document["seconds"],
            "answer": answer and one_line(answer["text"], 200),
            "resumable": document["path"] == "loop" and document["state"] != "done",
        }


def interrupted(run_id: str) -> str:
    """Return what is said of a run whose service is gone."""
    return f"The service ended during this run. Continue it with %rlm resume {run_id}."


def end_of_interrupted(run_id: str, events: Sequence[Event]) -> RunFinished:
    """Return the last event that a run lacks whose service is gone."""
    first, last = events[0], events[-1]
    said = interrupted(run_id)
    return RunFinished("failed", said, last.time - first.time, seq=last.seq + 1, time=last.time)


def from_store(run_id: str, events: Sequence[Event], answer: Value | None) -> LiveRun:
    """Return a stored run as it was."""
    trace = Trace()
    log = EventLog(trace.apply)
    for event in events:
        log.take(event)
    return LiveRun(ToldRun(run_id, log, answer), trace)
