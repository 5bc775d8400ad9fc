"""One request at one end, read in a task of its own, so that it can be given up from outside."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from kowalski_jupyter.models.base import Delta, ModelError, ModelUnreachableError, Usage

_NOTHING: Final = Delta()
"""Progress, and nothing else."""


class NotSentError(ModelUnreachableError):
    """The request was not sent: what failed meanwhile left no way to do so. Nothing is lost."""


class Attempt:
    """A reply that comes in.

    Args:
        deltas: what the end says.
        news: set whenever something has come, or it has ended.
        over: called once, when it has ended or was given up.

    Attributes:
        pieces: what has come and was not taken yet.
        ended: whether nothing more will come.
        error: why it failed, if it did.
        reply_id: the server's name for the reply, once it has said it.
        begun: when it was sent; like all times here by a clock that only grows.
        first: when its first token came.
        progress: when it last came nearer to its end.
        usage: of the whole reply, once it is there.
        tokens: pieces of text that have come.
    """

    def __init__(
        self, deltas: AsyncGenerator[Delta, None], news: asyncio.Event, over: Callable[[Attempt], None]
    ) -> None:
        self.pieces: deque[Delta] = deque()
        self.ended = False
        self.error: ModelError | None = None
        self.reply_id = ""
        self.begun = self.progress = time.monotonic()
        self.first: float | None = None
        self.usage: Usage | None = None
        self.tokens = 0
        self._news = news
        self._over = over
        self._task = asyncio.create_task(self._read(deltas))

    @property
    def taken(self) -> bool:
        """Whether its server has begun to answer, with a token or without."""
        return self.progress > self.begun

    @property
    def whole(self) -> bool:
        """Whether the reply is there, to its end."""
        return self.ended and self.error is None

    @property
    def seconds(self) -> float:
        """From its sending to its latest progress."""
        return self.progress - self.begun

    async def _read(self, deltas: AsyncGenerator[Delta, None]) -> None:
        try:
            async with aclosing(deltas):
                async for delta in deltas:
                    self._take(delta)
        except ModelError as error:
            self._end(error)
        except BaseException:
            self._end(ModelError("The request was given up."))
            raise
        else:
            self._end(None)

    def _take(self, delta: Delta) -> None:
        self.progress = time.monotonic()
        self.reply_id = self.reply_id or delta.reply_id
        if self.ended or delta == _NOTHING:
            return
        if delta.text or delta.reasoning:
            self.first = self.first or self.progress
            self.tokens += 1
        self.usage = delta.usage or self.usage
        self.pieces.append(delta)
        self._news.set()

    def _end(self, error: ModelError | None) -> None:
        if not self.ended:
            self.ended, self.error = True, error
            self._over(self)
            self._news.set()

    def give_up(self, error: ModelError, *, leave: bool = False) -> None:
        """End it as failed; with `leave` its connection stays open until `close`."""
        self._end(error)
        if not leave:
            self._task.cancel()

    async def close(self) -> None:
        """Close its connection, if that is open still."""
        self._end(ModelError("Nobody waits for the reply any more."))
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
