"""One reply of the root model: streamed, shown while it comes, stopped where further text is waste."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from kowalski_jupyter.models.base import Message, ModelError, Sampling, Usage
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
    scanner = ReplyStream()
    pieces: list[str] = []
    usage: Usage | None = None
    thoughts: list[str] = []
    finish_reason = ""
    block: Block | None = None
    looked_at = 0
    try:
        async with aclosing(endpoint.stream(messages, sampling, "root")) as deltas:
            async for delta in deltas:
                usage = delta.usage or usage
                finish_reason = delta.finish_reason or finish_reason
                if delta.restarted:
                    if block is not None:
                        finish_reason = "stop"
                        break
                    pieces, thoughts, scanner, looked_at = [], [], ReplyStream(), 0
                    emit(ReplyRestarted(turn))
                if delta.reasoning:
                    thoughts.append(delta.reasoning)
                    emit(ReplyDelta(turn, delta.reasoning, reasoning=True))
                if not delta.text:
                    continue
                if block is not None and delta.text.strip():
                    finish_reason = "stop"
                    break
                pieces.append(delta.text)
                emit(ReplyDelta(turn, delta.text))
                scanner.feed(delta.text)
                if on_block is not None and block is None and not _LINE_ENDS.isdisjoint(delta.text):
                    ended = scanner.ended
                    block = _first_block(ended[looked_at:], languages) if len(ended) > looked_at else None
                    looked_at = len(ended)
                    if block is not None:
                        on_block(block)
    except ModelError:
        if block is None:
            raise
        finish_reason = "stop"
    text = "".join(pieces)
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
    return Asked({"content": text, "reasoning_content": "".join(thoughts)}, finish_reason)


def _first_block(segments: Sequence[Segment], languages: Collection[str]) -> Block | None:
    """Return the first block in one of the languages whose end has been seen."""
    for segment in segments:
        if segment.kind == "code" and segment.closed and segment.language in languages and segment.text.strip():
            return Block(segment.language, segment.text)
    return None
