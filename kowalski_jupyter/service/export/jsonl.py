"""A run as JSON lines, for other programs to read."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from kowalski_jupyter._version import __version__
from kowalski_jupyter.rlm import events as ev
from kowalski_jupyter.service.store.rows import reasoning_of

_E = TypeVar("_E", bound=ev.Event)


def to_jsonl(events: Sequence[ev.Event]) -> bytes:
    """Return a run as JSON lines: one of metadata, one for each turn.

    The keys are those that the `rlms` library's logger uses (types ``metadata`` and ``iteration``), with ours added
    where it has none. Its ``prompt`` repeats the whole chat in each line; here it is what is new since the line before.
    """
    lines = [_metadata(events), *_iterations(events)]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def _metadata(events: Sequence[ev.Event]) -> dict[str, Any]:
    started = _first(events, ev.RunStarted)
    model = _first(events, ev.ModelReady)
    kernel = _first(events, ev.KernelReady)
    answered = _first(events, ev.Answered)
    finished = _first(events, ev.RunFinished)
    return {
        "type": "metadata",
        "timestamp": _stamp(started) if started else None,
        "root_model": model.name if model else None,
        "max_depth": started.settings.get("depth", 1) if started else None,
        "max_iterations": started.max_turns if started else None,
        "backend": model.where if model else None,
        "backend_kwargs": {},
        "environment_type": kernel.language if kernel else None,
        "environment_kwargs": {"sandbox": kernel.sandbox} if kernel else {},
        "other_backends": None,
        "writer": f"kowalski-jupyter {__version__}",
        "run": started.run if started else None,
        "parent": started.parent if started else None,
        "question": started.question if started else None,
        "data": started.data if started else [],
        "settings": started.settings if started else {},
        "state": finished.state if finished else None,
        "error": finished.error if finished else None,
        "seconds": finished.seconds if finished else None,
        "final_answer": answered.text if answered else None,
        "final_answer_type": answered.value_type if answered else None,
    }


def _iterations(events: Sequence[ev.Event]) -> Iterator[dict[str, Any]]:
    """Make a line of each turn that has a reply."""
    started = _first(events, ev.RunStarted)
    said: list[str] = [started.question] if started else []
    begins = [index for index, event in enumerate(events) if isinstance(event, ev.TurnStarted)]
    for begin, end in zip(begins, [*begins[1:], len(events)], strict=True):
        turn = events[begin:end]
        reply = _first(turn, ev.ReplyFinished)
        if reply is None:
            continue
        answered = _first(turn, ev.Answered)
        yield {
            "type": "iteration",
            "iteration": reply.turn,
            "timestamp": _stamp(turn[0]),
            "prompt": [{"role": "user", "content": text} for text in said],
            "response": reply.text,
            "reasoning": reasoning_of(reply, events) or None,
            "finish_reason": reply.finish_reason,
            "code_blocks": [_block(cell, turn) for cell in turn if isinstance(cell, ev.CellStarted)],
            "final_answer": answered.text if answered else None,
            "iteration_time": round(turn[-1].time - turn[0].time, 6),
            "usage": _usage(reply),
        }
        said = [event.text for event in turn if isinstance(event, ev.Feedback | ev.Told)]


def _block(cell: ev.CellStarted, turn: Sequence[ev.Event]) -> dict[str, Any]:
    mine = [event for event in turn if getattr(event, "cell", None) == cell.cell]
    outputs = [event for event in mine if isinstance(event, ev.CellOutput)]
    ended = _first(mine, ev.CellFinished)
    ends = {event.call: event for event in turn if isinstance(event, ev.SubcallFinished)}
    return {
        "code": cell.code,
        "language": cell.language,
        "cell": cell.cell,
        "result": {
            "stdout": "".join(event.text for event in outputs if event.kind in ("stdout", "result", "display")),
            "stderr": "".join(event.text for event in outputs if event.kind in ("stderr", "error")),
            "locals": {},
            "execution_time": ended.seconds if ended else None,
            "status": ended.status if ended else None,
            "rlm_calls": [_call(event, ends.get(event.call)) for event in mine if isinstance(event, ev.SubcallStarted)],
        },
    }


def _call(asked: ev.SubcallStarted, ended: ev.SubcallFinished | None) -> dict[str, Any]:
    return {
        "root_model": asked.model,
        "prompt": asked.prompt,
        "response": ended.reply if ended else "",
        "error": (ended.error or None) if ended else "stopped",
        "usage_summary": {"model_usage_summaries": {asked.model: _usage(ended)} if ended else {}},
        "execution_time": ended.seconds if ended else 0.0,
        "remembered": ended.remembered if ended else False,
        "run": asked.run or None,
    }


def _usage(event: ev.ReplyFinished | ev.SubcallFinished) -> dict[str, int]:
    return {
        "total_calls": 1,
        "total_input_tokens": event.prompt_tokens or 0,
        "total_output_tokens": event.completion_tokens or 0,
    }


def _first(events: Sequence[ev.Event], kind: type[_E]) -> _E | None:
    return next((event for event in events if isinstance(event, kind)), None)


def _stamp(event: ev.Event) -> str:
    return dt.datetime.fromtimestamp(event.time, dt.UTC).isoformat()
