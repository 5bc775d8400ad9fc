"""One reply of the root model: streamed, shown while it comes, stopped where further text is waste."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from kowalski_jupyter.models.base import Message, ModelError, Sampling, Usage
from kowalski_jupyter.rlm.endpoints import Endpoint
from kowalski_jupyter.rlm.events import Event, ReplyDelta, ReplyFinished
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
    several: bool = False,
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
            would be written without having seen its output, so the stream is closed when any comes.
        several: call `on_block` with further blocks too, as long as each is in another language than the one before.

    Raises:
        ModelError: the reply failed before it held a whole block.
    """
    started = time.monotonic()
    scanner = ReplyStream()
    pieces: list[str] = []
    usage: Usage | None = None
    thoughts: list[str] = []
    finish_reason = ""
    whole = _WholeBlocks(languages, several=several)
    try:
        async with endpoint.places, aclosing(endpoint.stream(messages, sampling)) as deltas:
            async for delta in deltas:
                usage = delta.usage or usage
                finish_reason = delta.finish_reason or finish_reason
                if delta.reasoning:
                    thoughts.append(delta.reasoning)
                    emit(ReplyDelta(turn, delta.reasoning, reasoning=True))
                if not delta.text:
                    continue
                if whole.enough and delta.text.strip():
                    finish_reason = "stop"
                    break
                pieces.append(delta.text)
                emit(ReplyDelta(turn, delta.text))
                scanner.feed(delta.text)
                if on_block is not None and not whole.enough and not _LINE_ENDS.isdisjoint(delta.text):
                    for block in whole.new(scanner.ended):
                        on_block(block)
                        await asyncio.sleep(0)  # it runs while the rest of the reply is read and stored
    except ModelError:
        if not whole.last:
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


class _WholeBlocks:
    """Finds the blocks of a growing reply that run.

    Attributes:
        last: the language of the last one, or empty.
        enough: whether no other will.
    """

    def __init__(self, languages: Collection[str], *, several: bool) -> None:
        self.last = ""
        self.enough = False
        self._languages = languages
        self._several = several
        self._looked_at = 0

    def new(self, ended: Sequence[Segment]) -> Iterator[Block]:
        """Yield those that have come since the last time; `ended` are the segments whose end has been seen."""
        fresh, self._looked_at = ended[self._looked_at :], len(ended)
        for segment in fresh:
            if segment.kind != "code" or not segment.closed or segment.language not in self._languages:
                continue
            if self.enough or not segment.text.strip():
                continue
            if segment.language != self.last:
                yield Block(segment.language, segment.text)
            self.enough = not self._several or segment.language == self.last
            self.last = segment.language
