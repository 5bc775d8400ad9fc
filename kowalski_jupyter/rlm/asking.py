"""One reply of the root model: streamed, shown while it comes, stopped where further text is waste."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from kowalski_jupyter.models.base import Delta, Message, ModelError, Sampling, Usage
from kowalski_jupyter.rlm.endpoints import Endpoint
from kowalski_jupyter.rlm.events import Event, ReplyDelta, ReplyFinished, ReplyRestarted
from kowalski_jupyter.rlm.protocol import Block, ReplyStream, Segment

_LINE_ENDS = frozenset("\r\n")


@dataclass(frozen=True, slots=True)
class Asked:
    """A reply, as a message object for the parser, and how it ended."""

    message: dict[str, str]
    finish_reason: str


async def ask(
    endpoint: Endpoint,
    messages: Sequence[Message],
    sampling: Sampling,
    *,
    turn: int,
    emit: Callable[[Event], None],
    languages: Collection[str] = (),
    on_block: Callable[[Block], None] | None = None,
) -> Asked:
    """Stream one reply.

    Args:
        endpoint: the root model.
        messages: the chat so far.
        sampling: how to sample.
        turn: the turn's number, for the events.
        emit: takes the events.
        languages: what can run.
        on_block: called with the first whole block that can run, at once when its fence closes. Text after that block
            would be written without having seen its output, so the stream is closed when any comes. A reply that is
            lost after its block was whole is not asked for again.

    Raises:
        ModelError: the reply failed before it held a whole block.
    """
    started = time.monotonic()
    usage: Usage | None = None
    finish_reason = ""
    coming = _Coming(turn, emit, languages, on_block)
    try:
        async with aclosing(endpoint.stream(messages, sampling, "root")) as deltas:
            async for delta in deltas:
                usage = delta.usage or usage
                finish_reason = delta.finish_reason or finish_reason
                if coming.has_enough(delta):
                    finish_reason = "stop"
                    break
                if coming.take(delta):
                    await asyncio.sleep(0)  # it runs while the rest of the reply is read and stored
    except ModelError:
        if coming.block is None:
            raise
        finish_reason = "stop"
    text = "".join(coming.pieces)
    emit(
        ReplyFinished(
            turn,
            text,
            finish_reason,
            time.monotonic() - started,
            usage.prompt_tokens if usage else None,
            usage.completion_tokens if usage else None,
            usage.cached_tokens if usage else None,
        )
    )
    return Asked({"content": text, "reasoning_content": "".join(coming.thoughts)}, finish_reason)


class _Coming:
    """What has come of a reply, told as events. See `ask` for the arguments."""

    def __init__(
        self,
        turn: int,
        emit: Callable[[Event], None],
        languages: Collection[str],
        on_block: Callable[[Block], None] | None,
    ) -> None:
        self.pieces: list[str] = []
        self.thoughts: list[str] = []
        self.block: Block | None = None
        self._turn = turn
        self._emit = emit
        self._languages = languages
        self._on_block = on_block
        self._scanner = ReplyStream()
        self._looked_at = 0

    def has_enough(self, delta: Delta) -> bool:
        """Tell whether there is a block, and what comes now is only talk after it, or the reply begun anew."""
        return self.block is not None and (delta.restarted or bool(delta.text.strip()))

    def take(self, delta: Delta) -> bool:
        """Take the next piece; tell whether it has set a block going."""
        if delta.restarted:
            self.pieces, self.thoughts, self._scanner, self._looked_at = [], [], ReplyStream(), 0
            self._emit(ReplyRestarted(self._turn))
        if delta.reasoning:
            self.thoughts.append(delta.reasoning)
            self._emit(ReplyDelta(self._turn, delta.reasoning, reasoning=True))
        if not delta.text:
            return False
        self.pieces.append(delta.text)
        self._emit(ReplyDelta(self._turn, delta.text))
        self._scanner.feed(delta.text)
        if self._on_block is None or self.block is not None or _LINE_ENDS.isdisjoint(delta.text):
            return False
        ended = self._scanner.ended
        if len(ended) > self._looked_at:
            self.block = _first_block(ended[self._looked_at :], self._languages)
            self._looked_at = len(ended)
        if self.block is not None:
            self._on_block(self.block)
        return self.block is not None


def _first_block(segments: Sequence[Segment], languages: Collection[str]) -> Block | None:
    """Return the first block in one of the languages whose end has been seen."""
    for segment in segments:
        if segment.kind == "code" and segment.closed and segment.language in languages and segment.text.strip():
            return Block(segment.language, segment.text)
    return None
