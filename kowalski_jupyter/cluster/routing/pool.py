"""Several ends as one chat model, which answers as long as one of them does."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from kowalski_jupyter.cluster.routing.attempt import Attempt, NotSentError
from kowalski_jupyter.cluster.routing.end import End
from kowalski_jupyter.cluster.routing.router import Router
from kowalski_jupyter.cluster.routing.score import Wanted
from kowalski_jupyter.cluster.routing.telling import Tell
from kowalski_jupyter.cluster.routing.vigil import LostError
from kowalski_jupyter.models.base import (
    Delta,
    Job,
    Message,
    ModelCutOffError,
    ModelError,
    ModelRefusedError,
    ModelRejectedError,
    ModelStalledError,
    ModelUnreachableError,
    Sampling,
)

_MOST_FAULTS: Final = 4.0
"""How often a request may fail in a way that is likely to be its own fault, such as a runner that dies of it. exo gives
an instance up with the fifth runner that dies."""

_BROKEN_OFF: Final = 0.25
"""What a reply counts that was broken off: seldom its fault."""

_FIRST_PAUSE: Final = 0.01
_LONGEST_PAUSE: Final = 3.0
_HEDGE_AGAIN: Final = 0.5
"""Seconds until a second attempt is thought of again, where there was no room for it."""

_PREFIX: Final = 400
"""Characters by which prompts are told to begin alike."""


class Pool:
    """A `ChatModel` and `Routes` made of ends.

    Args:
        router: sends the requests.
        ends: where they may go; the first names the model.

    Attributes:
        ends: the same.
    """

    routes = True

    def __init__(self, router: Router, ends: Sequence[End]) -> None:
        self.name = ends[0].name
        self._router = router
        self.ends = list(ends)
        for end in ends:
            end.users += 1

    @property
    def where(self) -> str:
        """See `ChatModel.where`."""
        return " and ".join(dict.fromkeys(end.where for end in self.ends))

    @property
    def gone(self) -> bool:
        """See `Routes.gone`."""
        return all(end.gone for end in self.ends)

    @property
    def context_tokens(self) -> int | None:
        """The largest window of any end; each gets only what fits into its own."""
        known = [end.context_tokens for end in self.ends]
        return None if None in known else max(each for each in known if each is not None)

    @property
    def width(self) -> int:
        """What the ends work on at a time, all together, now."""
        return max(1, sum(end.condition().slots for end in self.ends))

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """See `ChatModel.stream`."""
        return self.route(messages, sampling, Job())

    async def route(self, messages: Sequence[Message], sampling: Sampling, job: Job) -> AsyncGenerator[Delta, None]:
        """See `Routes.route`: what one end loses, another is asked for.

        Raises:
            ModelError: it is the request's own fault; no end is asked again.
        """
        course = _Course(self.ends)
        wanted = _wanted(messages, sampling, job)
        while True:
            end = await self._router.dispatcher.place(wanted, course.ends, job.tell, again=bool(course.lost))
            job.sent()
            told = False
            try:
                async with aclosing(self._attempt(end, wanted, messages, sampling, job.tell)) as deltas:
                    async for delta in deltas:
                        told = told or bool(delta.text or delta.reasoning)
                        yield delta
                break
            except NotSentError:
                await asyncio.sleep(_pause(0))
                continue
            except ModelError as error:
                course.failed(end, error)
                self._router.troubles.lost(job.tell, course.lost, job.kind)
                wanted = dataclasses.replace(wanted, avoid=wanted.avoid | {end.key})
            if told:
                yield Delta(restarted=True)
            await self._router.retries.wait()
            await asyncio.sleep(_pause(course.faults))
        if course.lost:
            self._router.troubles.say(job.tell)

    async def _attempt(
        self, end: End, wanted: Wanted, messages: Sequence[Message], sampling: Sampling, tell: Tell
    ) -> AsyncGenerator[Delta, None]:
        """Ask one end; and, where its reply takes far longer than others did and there is room, another one too."""
        news = asyncio.Event()
        sent = attempts = [self._send(end, wanted, messages, sampling, news)]
        ends = [end]
        late = _Timer(self._router.hedge_at(end, wanted), news)
        try:
            while True:
                first = attempts[0]
                while first.pieces:
                    yield first.pieces.popleft()
                whole = next((each for each in attempts if each.whole), None)
                attempts = [whole] if whole else [each for each in attempts if not each.ended]
                if not attempts:
                    raise first.error or ModelError("The request was given up.")
                if attempts[0] is not first:
                    yield Delta(restarted=True)
                elif whole:
                    return
                elif late.over():
                    second = self._router.hedge(self.ends, end, wanted)
                    if second is not None:
                        late.stop()
                        attempts.append(self._send(second, wanted, messages, sampling, news))
                        sent, ends = list(attempts), [end, second]
                else:
                    await news.wait()
                    news.clear()
        finally:
            late.stop()
            self._router.hedge_over(wanted, ends, [each.whole for each in sent], tell)
            for each in sent:
                if not each.ended:
                    await each.close()

    def _send(
        self, end: End, wanted: Wanted, messages: Sequence[Message], sampling: Sampling, news: asyncio.Event
    ) -> Attempt:
        def over(attempt: Attempt) -> None:
            end.gave(wanted, attempt)
            if attempt.error is None:
                self._router.retries.earned()
            self._router.dispatcher.wake()

        return end.send(messages, sampling, news, over)

    async def aclose(self) -> None:
        """See `ChatModel.aclose`: ends that nobody else asks are closed."""
        await self._router.leave(self.ends)


class _Course:
    """What a request has been through.

    Attributes:
        ends: where it may still go.
        lost: why it was lost the last time, in half a line; empty if it never was.
        faults: how often it failed, as far as that may be its own fault.
    """

    def __init__(self, ends: list[End]) -> None:
        self.ends = ends
        self.lost = ""
        self.faults = 0.0

    def failed(self, end: End, error: ModelError) -> None:
        """Note a failure; raise it where to ask again would be of no use."""
        if isinstance(error, ModelRejectedError):
            self.ends = [each for each in self.ends if each is not end]
            self.lost = f"{end.where} does not take it"
        else:
            self.faults += _blame(error)
            self.lost = error.reason or _reason(error, end)
        if not self.ends or self.faults >= _MOST_FAULTS:
            raise error


class _Timer:
    """Makes news at a moment of the loop's time, if there is one, and again and again until it is stopped."""

    def __init__(self, at: float | None, news: asyncio.Event) -> None:
        self._over = False
        self._news = news
        self._loop = asyncio.get_running_loop()
        self._handle = None if at is None else self._loop.call_at(at, self._strike)

    def _strike(self) -> None:
        self._over = True
        self._news.set()
        self._handle = self._loop.call_later(_HEDGE_AGAIN, self._strike)

    def over(self) -> bool:
        """Tell, once each time, that the moment has come."""
        over, self._over = self._over, False
        return over

    def stop(self) -> None:
        """Make no news any more."""
        if self._handle is not None:
            self._handle.cancel()


def _wanted(messages: Sequence[Message], sampling: Sampling, job: Job) -> Wanted:
    size = sum(len(message.content) for message in messages)
    prefix = hash("".join(message.content[:_PREFIX] for message in messages[:2])[:_PREFIX])
    return Wanted(job.kind, size, sampling.max_tokens, prefix)


def _blame(error: ModelError) -> float:
    """Return how much of a failure is the request's own; nothing where the end was lost with all that it had."""
    if isinstance(error, LostError | ModelUnreachableError):
        return 0.0
    return 1.0 if isinstance(error, ModelRefusedError) else _BROKEN_OFF


def _reason(error: ModelError, end: End) -> str:
    """Return half a line about what has happened."""
    if isinstance(error, ModelUnreachableError):
        return f"{end.where} does not answer"
    if isinstance(error, ModelStalledError):
        return f"{end.where} has gone silent"
    if isinstance(error, ModelCutOffError):
        return f"{end.where} broke off a reply"
    return f"{end.where} failed" if isinstance(error, ModelRefusedError) else "a request was lost"


def _pause(faults: float) -> float:
    """Return the seconds before a request is sent again, more and more, and never the same for two of them."""
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * math.pow(4, faults))
    return random.uniform(0.2, 1.0) * longest  # noqa: S311 (no secret)
