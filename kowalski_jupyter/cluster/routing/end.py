"""One place where a model answers, as the router sees it."""

from __future__ import annotations

import abc
import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import httpx

from kowalski_jupyter.cluster.routing.attempt import Attempt
from kowalski_jupyter.cluster.routing.breaker import Breaker
from kowalski_jupyter.cluster.routing.score import Figures, Wanted
from kowalski_jupyter.cluster.routing.width import Width
from kowalski_jupyter.models.base import (
    ChatModel,
    Delta,
    JobKind,
    Message,
    ModelError,
    ModelRefusedError,
    ModelRejectedError,
    ModelUnreachableError,
    Report,
    Sampling,
)

_WEIGHT: Final = 0.2
"""Of the newest reply in smoothed figures."""

_PREFIXES: Final = 16
_DURATIONS: Final = 64


@dataclass(frozen=True, slots=True)
class Condition:
    """How an end is now.

    Attributes:
        slots: requests that it works on at a time; 0 if it cannot be asked.
        others: requests of other clients that it has.
        why: what keeps it from being asked, in words; else empty.
        trying: whether a request is on its way that will show whether it can be asked again.
        round_trip: seconds to it and back, if known.
        staleness: seconds since it was heard of.
        small_only: it gets small work only.
    """

    slots: int
    others: int = 0
    why: str = ""
    trying: bool = False
    round_trip: float | None = None
    staleness: float = 0.0
    small_only: bool = False


class End(abc.ABC):
    """One model at one place. Shared by all who ask it.

    Args:
        key: tells it from all others.
        name: the model's id there.
        context_tokens: the window, if known.
        most: requests that it works on at a time.

    Attributes:
        in_flight: requests of ours that it has.
        users: models that are made of it.
        durations: of the last sub-calls, in seconds.
    """

    def __init__(self, key: str, name: str, context_tokens: int | None, most: int) -> None:
        self.key = key
        self.name = name
        self.context_tokens = context_tokens
        self.in_flight = 0
        self.users = 0
        self.width = Width(most)
        self.breaker = Breaker()
        self.durations: deque[float] = deque(maxlen=_DURATIONS)
        self._seconds: dict[JobKind, float] = {}
        self._prefixes: OrderedDict[int, None] = OrderedDict()

    @property
    @abc.abstractmethod
    def where(self) -> str:
        """Where it is, in words."""

    @property
    @abc.abstractmethod
    def gone(self) -> bool:
        """Whether nothing answers there any more: it is not only busy, or without its model."""

    @abc.abstractmethod
    def condition(self) -> Condition:
        """Return how it is now."""

    @abc.abstractmethod
    def send(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        news: asyncio.Event,
        over: Callable[[Attempt], None],
    ) -> Attempt:
        """Send a request."""

    async def revive(self, report: Report) -> None:
        """Do what can be done for an end that cannot be asked; by default nothing can but wait.

        Raises:
            ModelError: it did not help; the text says why.
        """
        del report

    @property
    def replicas(self) -> int:
        """How many there are behind it, of which each request gets one."""
        return 1

    def pause(self) -> float:
        """Return for how many seconds nothing more should be sent, though there is room."""
        return 0.0

    def room(self, condition: Condition) -> int:
        """Return how many requests of ours it may have now."""
        return min(self.width.limit, condition.slots) - condition.others

    def stock(self, condition: Condition) -> int:
        """Return how many more it may have that wait there for their turn, so that none of its places is ever empty."""
        del condition
        return 0

    @abc.abstractmethod
    async def aclose(self) -> None:
        """Close what it has open."""

    # -- what it was measured to be ----------------------------------------------------------------------

    def figures(self, wanted: Wanted, condition: Condition) -> Figures:
        """Return what counts for a request."""
        return Figures(
            self._seconds.get(wanted.kind),
            self.in_flight + condition.others,
            condition.slots,
            condition.round_trip,
            condition.staleness,
            wanted.prefix in self._prefixes,
        )

    def seconds(self, kind: JobKind) -> float | None:
        """Return how long a reply of a kind takes, smoothed; None before the first."""
        return self._seconds.get(kind)

    def took(self, wanted: Wanted) -> None:
        """Note that a request goes to it."""
        self.in_flight += 1
        self.breaker.sent()
        self._prefixes[wanted.prefix] = None
        self._prefixes.move_to_end(wanted.prefix)
        if len(self._prefixes) > _PREFIXES:
            self._prefixes.popitem(last=False)

    def gave(self, wanted: Wanted, attempt: Attempt) -> None:
        """Note how a request of its ended."""
        in_flight, self.in_flight = self.in_flight, self.in_flight - 1
        error = attempt.error
        if error is None:
            self.breaker.succeeded()
            # Without what it waited there for others of ours, about.
            seconds = attempt.seconds / max(1.0, in_flight / self.width.most)
            known = self._seconds.get(wanted.kind, seconds)
            self._seconds[wanted.kind] = known + _WEIGHT * (seconds - known)
            if wanted.kind == "subcall":
                self.durations.append(attempt.seconds)
            tokens = attempt.usage.completion_tokens if attempt.usage else attempt.tokens
            self.width.replied(tokens, attempt.progress - (attempt.first or attempt.progress), in_flight)
        else:
            self.failed(error)

    def failed(self, error: ModelError) -> None:
        """Note that a request of its failed: an end that fails again and again is left alone for a while."""
        if isinstance(error, ModelUnreachableError):
            self.breaker.failed(surely=True)
        elif isinstance(error, ModelRejectedError) or type(error) is ModelError:
            self.breaker.left()
        else:
            self.breaker.failed()
            if isinstance(error, ModelRefusedError) and error.status == httpx.codes.TOO_MANY_REQUESTS:
                self.width.refused()


class PlainEnd(End):
    """A server that is asked directly: Ollama, llama.cpp, any OpenAI-compatible one, the embedded model.

    Args:
        key: tells it from all others.
        model: what is asked; closed with the end.
    """

    def __init__(self, key: str, model: ChatModel) -> None:
        super().__init__(key, model.name, model.context_tokens, model.width)
        self._model = model

    @property
    def where(self) -> str:
        """See `End.where`."""
        return self._model.where

    @property
    def gone(self) -> bool:
        """See `End.gone`."""
        return not self.breaker.closed

    def condition(self) -> Condition:
        """See `End.condition`."""
        if self.breaker.allows:
            return Condition(self._model.width)
        return Condition(0, why=f"{self.where} does not answer", trying=self.breaker.trying)

    def send(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        news: asyncio.Event,
        over: Callable[[Attempt], None],
    ) -> Attempt:
        """See `End.send`."""
        deltas: AsyncGenerator[Delta, None] = self._model.stream(messages, sampling)
        return Attempt(deltas, news, over)

    async def aclose(self) -> None:
        """See `End.aclose`."""
        await self._model.aclose()
