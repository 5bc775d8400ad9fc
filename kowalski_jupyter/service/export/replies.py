"""What models and child runs said to a run's code, as Python source."""

from __future__ import annotations

import ast
import base64
from collections.abc import Callable, Collection, Mapping, Sequence

from kowalski_jupyter.kernels.base import Value
from kowalski_jupyter.kernels.values import decode_answer
from kowalski_jupyter.rlm import events as ev

DECODED = """
from base64 import b64decode

from kowalski_jupyter.kernels.values import decode_answer  # child runs gave more than text: it takes kowalski-jupyter
"""


def recorded_replies(
    events: Sequence[ev.Event], cells: Collection[str], answer_of: Callable[[str], Value | None]
) -> Mapping[str, list[str]]:
    """Return the replies to the sub-calls of some cells, by prompt, in the order in which they were asked."""
    asked = {event.call: event for event in events if isinstance(event, ev.SubcallStarted) and event.cell in cells}
    replies: dict[int, str] = {}
    for event in events:
        if isinstance(event, ev.SubcallFinished) and event.call in asked:
            answer = answer_of(asked[event.call].run) if asked[event.call].run and not event.error else None
            said = repr(event.reply) if answer is None else _source(answer)
            replies[event.call] = f"QueryError({event.error!r})" if event.error else said
    found: dict[str, list[str]] = {}
    for call, reply in sorted(replies.items()):
        found.setdefault(asked[call].prompt, []).append(reply)
    return {prompt: said[:1] if len(set(said)) == 1 else said for prompt, said in found.items()}


def _source(answer: Value) -> str:
    """Return an answer as a literal, or else as what `DECODED` decodes."""
    if answer.kind in ("json", "bytes"):
        try:
            text = repr(value := decode_answer(answer.kind, answer.data))
            if ast.literal_eval(text) == value:
                return text
        except (ValueError, SyntaxError, RecursionError):
            pass
    return f"decode_answer({answer.kind!r}, b64decode({base64.b64encode(answer.data).decode()!r}))"
