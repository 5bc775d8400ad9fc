"""What the user wants of a run that goes on, as browsers and notebooks send it: checked, and handed to the run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, get_args

from kowalski_jupyter.rlm.run import Run
from kowalski_jupyter.rlm.steering import Decision, SteeringError
from kowalski_jupyter.service.runs import LiveRun

_NOTE_CHARS = 10_000
_CODE_CHARS = 100_000
_CELL_CHARS = 100
_LIMITS = 20
_BODY_BYTES = 1 << 20


def steer(live: LiveRun, body: bytes) -> None:
    """Do what a request's body says (docs/run-format.md, `POST runs/<id>/steer`).

    Raises:
        SteeringError: it is not one of the four things that can be wanted, or the run cannot do it now.
    """
    wanted = _read(body)
    if live.log.finished:
        raise SteeringError(_ended(live))
    if live.out_of_hand:
        raise SteeringError(live.out_of_hand)
    assert isinstance(live.run, Run)  # noqa: S101 (only those have a task)
    steering = live.run.steering
    match wanted:
        case {"tell": note, **others} if not others:
            if not live.run.has_work:
                raise SteeringError(
                    f"Run {live.id} is one question without data: no turn follows in which a note could be read. "
                    f"`%rlm cancel {live.id}`, then ask again with the note in the question."
                )
            steering.tell(_text(note, "note", _NOTE_CHARS))
        case {"limits": limits, **others} if not others:
            steering.raise_limits(_limits(limits))
        case {"decide": decision, **others} if others.keys() <= {"cell", "code"}:
            cell = _text(others.get("cell", ""), "cell", _CELL_CHARS)
            code = _text(others.get("code", ""), "code", _CODE_CHARS)
            steering.decide(cell, _decision(decision), code)
        case {"judge": error, **others} if not others:
            steering.judge(_text(error, "error", _NOTE_CHARS))
        case _:
            raise SteeringError('A run takes one of "tell", "limits", "decide" and "judge" at a time.')


def _ended(live: LiveRun) -> str:
    """Return what is said about a run that has ended."""
    said = f"Run {live.id} has ended, so nothing can be changed about it."
    head = live.trace.head()
    if head["path"] != "loop" or live.parent:
        return said
    turn = " --turn N" if head["state"] == "done" else ""
    return f"{said} `%rlm resume {live.id}{turn}` goes on with it as a new run, which may be given higher limits."


def _read(body: bytes) -> Mapping[str, Any]:
    if len(body) > _BODY_BYTES:
        raise SteeringError("That is too much at once.")
    try:
        wanted = json.loads(body)
    except (ValueError, RecursionError):
        raise SteeringError("What came is not JSON.") from None
    if not isinstance(wanted, dict):
        raise SteeringError("What came is not a JSON object.")
    return wanted


def _text(value: object, name: str, most: int) -> str:
    if not isinstance(value, str):
        raise SteeringError(f"The {name} must be text.")
    if len(value) > most:
        raise SteeringError(f"The {name} has {len(value):,} characters; at most {most:,} are taken.")
    return value


def _limits(value: object) -> dict[str, float]:
    if not isinstance(value, dict) or not 0 < len(value) <= _LIMITS:
        raise SteeringError("Say which limits to raise, and how far.")
    for name, number in value.items():
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise SteeringError(f"The limit {name[:40]!r} must be a number.")
        if name != "max_seconds" and not isinstance(number, int):
            raise SteeringError(f"The limit {name[:40]!r} must be a whole number.")
    return value


def _decision(value: object) -> Decision:
    for decision in get_args(Decision):
        if value == decision:
            known: Decision = decision
            return known
    raise SteeringError(f"A block can be decided by {', '.join(get_args(Decision))}.")
