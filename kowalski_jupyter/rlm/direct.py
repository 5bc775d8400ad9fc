"""The direct path: a question that names no data goes to the model as it is, without a loop and without a kernel."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from kowalski_jupyter.kernels.base import Value
from kowalski_jupyter.models.base import Message, ModelError, Sampling
from kowalski_jupyter.rlm import events as ev
from kowalski_jupyter.rlm.asking import ask
from kowalski_jupyter.rlm.budget import Budget
from kowalski_jupyter.rlm.calls.schema import MismatchError, correction, instruction, read_reply
from kowalski_jupyter.rlm.calls.subcalls import json_value, text_value
from kowalski_jupyter.rlm.endpoints import Endpoint
from kowalski_jupyter.rlm.protocol.thoughts import strip_thoughts


class Coming:
    """Hands events on, and keeps what they tell of the reply: the best there is when a limit ends the run.

    Args:
        emit: takes the events.
    """

    def __init__(self, emit: Callable[[ev.Event], None]) -> None:
        self._emit = emit
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        """The reply as far as it has come."""
        return strip_thoughts("".join(self._pieces)).strip()

    def emit(self, event: ev.Event) -> None:
        """Take the next event."""
        if isinstance(event, ev.TurnStarted | ev.ReplyRestarted):
            self._pieces.clear()
        elif isinstance(event, ev.ReplyDelta) and not event.reasoning:
            self._pieces.append(event.text)
        self._emit(event)


async def ask_directly(
    question: str,
    endpoint: Endpoint,
    budget: Budget,
    sampling: Sampling,
    *,
    schema: Mapping[str, Any] | None,
    judge: Callable[[int, Value], Awaitable[str]],
    emit: Callable[[ev.Event], None],
) -> Value:
    """Return the model's reply; with a schema, the JSON value in it, asked for again until it fulfils the schema.

    `judge` is then asked, with the turn, why that value is not to be taken; it returns nothing if it is.

    Raises:
        LimitReachedError: too many replies did not fulfil it.
        ModelError: the model failed, or said nothing.
    """
    messages = [Message("user", f"{question}\n\n{instruction(schema)}" if schema else question)]
    for turn in itertools.count(1):
        budget.check_turn(turn, errors=turn - 1)
        emit(ev.TurnStarted(turn))
        asked = await ask(endpoint, messages, sampling, turn=turn, emit=emit)
        text = strip_thoughts(asked.message["content"]).strip()
        if not text:
            raise ModelError("The model's reply was empty. Run the cell again, or try another model.")
        if schema is None:
            return text_value(text)
        try:
            value = json_value(read_reply(text, schema))
            if refusal := await judge(turn, value):
                raise MismatchError(refusal)  # noqa: TRY301 (told like any other)
        except MismatchError as error:
            said = correction(error)
            emit(ev.Feedback(turn, said, trouble=True))
            messages += [Message("assistant", text), Message("user", said)]
        else:
            return value
    raise AssertionError
