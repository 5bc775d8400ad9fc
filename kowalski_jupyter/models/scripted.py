"""A chat model that answers from a script, in this process: for tests and for the documentation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Final

from kowalski_jupyter.models.base import Delta, Message, ModelCutOffError, ModelError, Sampling, Usage

Reply = str | Sequence[Delta] | ModelError
"""A text; the deltas themselves; or the error to raise, after nothing has come."""

_PIECE: Final = 4
"""Characters in one delta, about a token."""


class ScriptedModel:
    """A `ChatModel` whose replies are given.

    Args:
        replies: one for each request in order (a request beyond the last is a `ModelError`), or a
            function of the messages.
        name: the model's id.
        delay: seconds before each delta.
        context_tokens: the window to claim.
        width: the width to claim.

    Attributes:
        requests: the messages of each request, in order, for tests to look at.
        closed: how many requests were closed before their end.
    """

    def __init__(
        self,
        replies: Sequence[Reply] | Callable[[Sequence[Message]], Reply],
        *,
        name: str = "scripted",
        delay: float = 0.0,
        context_tokens: int | None = None,
        width: int = 8,
    ) -> None:
        self.name = name
        self.where = "a script"
        self.context_tokens = context_tokens
        self.width = width
        self.requests: list[tuple[Message, ...]] = []
        self.closed = 0
        self._replies = replies
        self._delay = delay

    async def stream(self, messages: Sequence[Message], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """See `ChatModel.stream`. Of `sampling` only `stop` and `max_tokens` (4 characters each) count."""
        self.requests.append(tuple(messages))
        reply = self._reply(messages)
        if isinstance(reply, ModelError):
            raise reply
        deltas = _deltas(reply, messages, sampling) if isinstance(reply, str) else reply
        finished = False
        try:
            for delta in deltas:
                await asyncio.sleep(self._delay)
                finished = delta.finish_reason is not None
                yield delta
        except (GeneratorExit, asyncio.CancelledError):
            self.closed += 1
            raise
        if not finished:
            raise ModelCutOffError("The script ended the reply without a finish_reason.")

    async def aclose(self) -> None:
        """Nothing to close."""

    def _reply(self, messages: Sequence[Message]) -> Reply:
        if callable(self._replies):
            return self._replies(messages)
        if len(self.requests) > len(self._replies):
            raise ModelError(f"The script has {len(self._replies)} replies; this request is one more.")
        return self._replies[len(self.requests) - 1]


def _deltas(text: str, messages: Sequence[Message], sampling: Sampling) -> list[Delta]:
    reason = "stop"
    cuts = [at for stop in sampling.stop if (at := text.find(stop)) >= 0]
    text = text[: min(cuts, default=len(text))]
    if len(text) > sampling.max_tokens * _PIECE:
        text, reason = text[: sampling.max_tokens * _PIECE], "length"
    deltas = [Delta(text=text[at : at + _PIECE]) for at in range(0, len(text), _PIECE)]
    prompt = sum(len(message.content) for message in messages) // _PIECE
    return [*deltas, Delta(finish_reason=reason, usage=Usage(prompt, len(deltas)))]
