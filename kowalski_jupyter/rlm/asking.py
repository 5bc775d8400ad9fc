"""One reply of the root model: streamed, shown while it comes, stopped where further text is waste."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from kowalski_jupyter.models.base import Delta, Message, ModelError, Sampling, Usage
from kowalski_jupyter.rlm.endpoints import Endpoint
from kowalski_jupyter.rlm.events import Event, ReplyDelta, ReplyFinished, ReplyRestarted
from kowalski_jupyter.rlm.protocol import Block, ReplyStream, Segment

_LINE_ENDS = frozenset("\r\n")


@dataclass(frozen=True, slots=True)
class Asked:
    """A reply, as a message object for the parser, what its text consists of, and how it ended."""

    message: dict[str, str]
    segments: Sequence[Segment]
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
    on_opened: Callable[[str], None] = lambda _: None,
    several: bool = False,
    thinks: bool = False,
    has_answer: Callable[[], bool] = lambda: False,
) -> Asked:
    """Stream one reply.

    Args:
        endpoint: the root model.
        messages: the chat so far.
        sampling: how to sample.
        turn: the turn's number, for the events.
        emit: takes the events.
        languages: what can run.
        on_block: called with the first whole block that can run, at once when its fence closes or the reply ends. Text
            after that block would be written without having seen its output, so the stream is closed when any comes. A
            reply that is lost after its block was whole is not asked for again.
        on_opened: called with the language of such a block while it is being written, with every line.
        several: call `on_block` with further blocks too, as long as each is in another language than the one before.
        thinks: the reply may begin with thoughts of which only the closing mark tells, as some servers swallow the
            opening one: until a mark came, or thoughts apart from the text, no block is known to be whole.
        has_answer: whether a block has given the answer: nothing that still comes counts then.

    Raises:
        ModelError: the reply failed before it held a whole block.
    """
    started = time.monotonic()
    usage = Usage(0, 0)

    def counted(spent: Usage) -> None:
        nonlocal usage
        usage = spent

    finish_reason = ""
    coming = _Coming(turn, emit, _WholeBlocks(languages, several=several), on_block, on_opened, thinks=thinks)
    try:
        async with aclosing(endpoint.stream(messages, sampling, "root", counted=counted)) as deltas:
            async for delta in deltas:
                finish_reason = delta.finish_reason or finish_reason
                if coming.has_enough(delta) or has_answer():
                    finish_reason = "stop"
                    break
                if coming.take(delta):
                    await asyncio.sleep(0)  # it runs while the rest of the reply is read, stored and understood
    except ModelError:
        if not coming.blocks.last:
            raise
        finish_reason = "stop"
    text = "".join(coming.pieces)
    emit(
        ReplyFinished(
            turn,
            text,
            finish_reason,
            time.monotonic() - started,
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.cached_tokens,
        )
    )
    message = {"content": text, "reasoning_content": "".join(coming.thoughts)}
    return Asked(message, coming.segments(finish_reason), finish_reason)


class _Coming:
    """What has come of a reply, told as events. See `ask` for the arguments."""

    def __init__(
        self,
        turn: int,
        emit: Callable[[Event], None],
        blocks: _WholeBlocks,
        on_block: Callable[[Block], None] | None,
        on_opened: Callable[[str], None],
        *,
        thinks: bool,
    ) -> None:
        self.pieces: list[str] = []
        self.thoughts: list[str] = []
        self.blocks = blocks
        self._turn = turn
        self._emit = emit
        self._on_block = on_block
        self._on_opened = on_opened
        self._thinks = thinks
        self._scanner = ReplyStream()
        self._finished = False

    def has_enough(self, delta: Delta) -> bool:
        """Tell whether what comes now is only talk after the last block that runs, or a reply with one begun anew."""
        return (self.blocks.enough and bool(delta.text.strip())) or (bool(self.blocks.last) and delta.restarted)

    def take(self, delta: Delta) -> bool:
        """Take the next piece; tell whether it has set a block going."""
        if delta.restarted:
            self.pieces, self.thoughts, self._scanner = [], [], ReplyStream()
            self.blocks.begin_anew()
            self._emit(ReplyRestarted(self._turn))
        if delta.reasoning:
            self.thoughts.append(delta.reasoning)
            self._emit(ReplyDelta(self._turn, delta.reasoning, reasoning=True))
        if delta.text:
            self.pieces.append(delta.text)
            self._emit(ReplyDelta(self._turn, delta.text))
            self._scanner.feed(delta.text)
        if self._on_block is None or self.blocks.enough:
            return False
        if delta.finish_reason:  # as most replies end with a fence, without an end of its line
            self._scanner.finish(delta.finish_reason)
            self._finished = True
        elif _LINE_ENDS.isdisjoint(delta.text):
            return False
        ended = self._scanner.ended
        if self._thinks and not (self._finished or self.thoughts or self._scanner.marked):
            return False
        found = [*self.blocks.new(ended)]
        for block in found:
            self._on_block(block)
        if self.blocks.may_run(self._scanner.opened):
            self._on_opened(self._scanner.opened)
        return bool(found)

    def segments(self, finish_reason: str) -> list[Segment]:
        """Return what the reply consists of, which has ended for that reason."""
        if not self._finished:
            self._scanner.finish(finish_reason)
        return self._scanner.segments


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

    def begin_anew(self) -> None:
        """Look at another reply, of which none has run yet."""
        self._looked_at = 0

    def may_run(self, language: str) -> bool:
        """Return whether a block in a language would run if it came next."""
        return not self.enough and language in self._languages and language != self.last

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
