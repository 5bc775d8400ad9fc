"""Events as the store writes and reads them: the pieces of a reply are put together, the rest is as it was."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kowalski_jupyter.rlm import events as ev

_REASONING = "reasoning"
"""Key that a stored reply has besides its event's own: the thoughts that came before it."""


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run's row in the list of stored runs.

    A run that neither has `ended` nor is `going_on` was interrupted: the process that wrote it is gone.
    """

    id: str
    summary: dict[str, Any]
    ended: bool
    going_on: bool


def to_row(event: ev.Event, events: Sequence[ev.Event]) -> str:
    """Return an event of the list `events` as text. A reply takes the reasoning of its pieces with it."""
    data = event.to_json()
    if isinstance(event, ev.ReplyFinished) and (reasoning := reasoning_of(event, events)):
        data[_REASONING] = reasoning
    return json.dumps(data)


def from_rows(rows: Iterable[str]) -> list[ev.Event]:
    """Return the events that `to_row` wrote, numbered from 1, each reply with its pieces: one of each kind."""
    events: list[ev.Event] = []
    for row in rows:
        data = json.loads(row)
        event = ev.from_json(data)
        if isinstance(event, ev.ReplyFinished):
            if data.get(_REASONING):
                events.append(ev.ReplyDelta(event.turn, data[_REASONING], reasoning=True, time=event.time))
            events.append(ev.ReplyDelta(event.turn, event.text, time=event.time))
        if event is not None:
            events.append(event)
    return [dataclasses.replace(event, seq=number) for number, event in enumerate(events, 1)]


def reasoning_of(reply: ev.ReplyFinished, events: Sequence[ev.Event]) -> str:
    """Return the thoughts that came before a reply in the list `events`."""
    pieces: list[str] = []
    for number in range(reply.seq - 2, -1, -1):
        event = events[number]
        if isinstance(event, ev.TurnStarted | ev.ReplyRestarted):
            break
        if isinstance(event, ev.ReplyDelta) and event.reasoning:
            pieces.append(event.text)
    return "".join(reversed(pieces))
