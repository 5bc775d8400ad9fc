"""The models of a run and its child runs: each opened once, asked no wider than it can take, its tokens counted."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

from kowalski_jupyter.models.base import (
    ChatModel,
    Delta,
    Job,
    JobKind,
    Message,
    ModelBusyError,
    ModelError,
    ModelRefusedError,
    ModelTooLongError,
    Report,
    Sampling,
    Usage,
    routing,
)
from kowalski_jupyter.rlm.budget import Budget
from kowalski_jupyter.rlm.places import Place, Places

OpenModel = Callable[[str | None, Report], Awaitable[ChatModel]]
"""Makes a model ready: the run's own for None, else the one of that id at the same end. Raises ModelError."""

_BYTES_PER_TOKEN = 4.0
"""A first guess, for English and code; the server's own counts replace it."""

_PICTURE_BYTES = 4000
"""What a picture counts as: models make 300 to 1,500 tokens of one."""

_DENSEST, _SPARSEST = 1.0, 8.0

_MOST_MODELS = 8


class Endpoint:
    """One model as all runs of a tree use it.

    Args:
        model: what answers.
        budget: of the tree.
        tell: takes lines for the user, about what becomes of requests.
    """

    def __init__(self, model: ChatModel, budget: Budget, tell: Callable[[str], None]) -> None:
        self.model = model
        self._routes = routing(model)
        self._places = Places(sys.maxsize if self._routes else model.width)
        self._budget = budget
        self._tell = tell
        self._told_busy = False
        self._bytes = 0
        self._tokens = 0
        self._largest = 0  # what prompt and reply of a request might take that was answered
        self._shown: int | None = None

    @property
    def window(self) -> int | None:
        """The window in tokens, as the server states it, or as what it refused has shown; None if neither is known."""
        known = [each for each in (self.model.context_tokens, self._shown) if each is not None]
        return min(known, default=None)

    async def stream(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        kind: JobKind,
        sent: Callable[[], None] = lambda: None,
        counted: Callable[[Usage], None] = lambda _: None,
    ) -> AsyncGenerator[Delta, None]:
        """Stream one reply when there is a place for it, and count its tokens.

        They count as the server says, or as they came where it does not say. Of a reply that was begun anew, only what
        came last counts.

        Args:
            messages: the chat.
            sampling: how to sample.
            kind: what the reply is for.
            sent: called when the request is sent.
            counted: called at the end with the tokens that counted.

        Raises:
            ModelError: the reply failed.
        """
        for times in itertools.count(1):
            place = await self._places.take()
            usage: Usage | None = None
            pieces = 0
            pause: float | None = None
            try:
                async with aclosing(self._open(messages, sampling, kind, sent)) as deltas:
                    async for delta in deltas:
                        if not place.answered:
                            self._places.answers(place)
                        usage = delta.usage or usage
                        if delta.restarted:
                            self._budget.spend(Usage(0, 0), pieces)
                            usage, pieces = None, 0
                        elif delta.text or delta.reasoning:
                            pieces += 1
                            self._budget.count_piece()
                        yield delta
            except ModelRefusedError as error:
                usage = self._learn(error, kind) or usage
                pause = self._pause(error, place, times)
                if pause is None:
                    raise
            else:
                return
            finally:
                self._places.leave(place)
                if pause is None:
                    counted(self._count(messages, sampling, usage, pieces))
            await asyncio.sleep(pause)

    def _learn(self, error: ModelRefusedError, kind: JobKind) -> Usage | None:
        """Take a window from a refusal, and return what the request has cost if that tells."""
        if not isinstance(error, ModelTooLongError):
            return None
        stated = error.window or (self._largest if kind == "root" else None)
        self._shown = min(filter(None, (self._shown, stated)), default=None)
        return Usage(0, 0)

    def _pause(self, error: ModelRefusedError, place: Place, times: int) -> float | None:
        """Return for how long a request waits that was refused so many times, or None if it is not sent again."""
        if self._routes or not isinstance(error, ModelBusyError):
            return None
        pause = self._places.refused(place, times)
        if pause is None:
            return None
        if not self._told_busy:
            self._told_busy = True
            self._tell(f"{self.model.where} has no room for a request: it is asked again, with fewer at a time.")
        return max(pause, error.after)

    def _count(self, messages: Sequence[Message], sampling: Sampling, usage: Usage | None, pieces: int) -> Usage:
        """Take what a request took out of the budget, and return it."""
        size = _size_of(messages)
        if usage is not None and usage.prompt_tokens > 0:
            self._bytes += size
            self._tokens += usage.prompt_tokens
        if pieces:
            self._largest = max(self._largest, self._tokens_of(size) + sampling.max_tokens)
        spent = usage or Usage(self._tokens_of(size), pieces)
        self._budget.spend(spent, pieces)
        return spent

    def _open(
        self, messages: Sequence[Message], sampling: Sampling, kind: JobKind, sent: Callable[[], None]
    ) -> AsyncGenerator[Delta, None]:
        if self._routes is not None:
            return self._routes.route(messages, sampling, Job(kind, sent, self._tell))
        sent()
        return self.model.stream(messages, sampling)

    def count(self, text: str) -> int:
        """Return how many tokens a text has, about: by the bytes per token that this model's prompts had so far."""
        return self._tokens_of(_size(text))

    def count_chat(self, messages: Sequence[Message]) -> int:
        """Return how many tokens a chat has, about."""
        return self._tokens_of(_size_of(messages))

    def excess(self, prompt: str, reply_tokens: int) -> int:
        """Return by how many tokens, about, a prompt and its reply exceed the window; 0 or less if they fit."""
        window = self.window
        return 0 if window is None else self.count(prompt) + reply_tokens - window

    def _tokens_of(self, size: int) -> int:
        per_token = self._bytes / self._tokens if self._tokens else _BYTES_PER_TOKEN
        return round(size / min(_SPARSEST, max(_DENSEST, per_token)))


class Endpoints:
    """The endpoints of a tree of runs, by the id that code asks for; None is the root model.

    Args:
        open_model: makes a model ready.
        budget: of the tree.
        tell: takes lines for the user, about what becomes of requests.
        open_root: makes a root model ready, if that is done in another way.
    """

    def __init__(
        self,
        open_model: OpenModel,
        budget: Budget,
        tell: Callable[[str], None],
        open_root: OpenModel | None = None,
    ) -> None:
        self._open_model = open_model
        self._open_root = open_root
        self._budget = budget
        self._tell = tell
        self._opened: dict[str | None, Endpoint] = {}
        self._roots: dict[str | None, Endpoint] = {}
        self._asked_for: set[str | None] = set()

    async def open(self, name: str | None, report: Report = lambda *_: None) -> Endpoint:
        """Return the endpoint of a model, making it ready if nobody in the tree has.

        Args:
            name: an id, or None for the root model. It may come from a model's code.
            report: told of a download and a load.

        Raises:
            ModelError: it cannot be had, or these are too many.
        """
        known = next((each for each in self._opened.values() if each.model.name == name), None)
        if known is not None:
            return known
        if name not in self._opened:
            self._ask_for(name)
            model = await self._open_model(name, report)
            same = next((each for each in self._opened.values() if each.model is model), None)
            self._opened.setdefault(name, same or Endpoint(model, self._budget, self._tell))
        return self._opened[name]

    async def open_root(self, name: str | None, report: Report) -> Endpoint:
        """Return the endpoint of a run's root model. Takes and raises what `open` does."""
        if self._open_root is None:
            return await self.open(name, report)
        if name not in self._roots:
            self._ask_for(name)
            model = await self._open_root(name, report)
            self._roots.setdefault(name, Endpoint(model, self._budget, self._tell))
        return self._roots[name]

    def _ask_for(self, name: str | None) -> None:
        self._asked_for.add(name)
        if len(self._asked_for) > _MOST_MODELS:
            raise ModelError(f"A run may ask {_MOST_MODELS} models; {name!r:.100} would be one more.")


def _size_of(messages: Sequence[Message]) -> int:
    return sum(_size(message.content) + _PICTURE_BYTES * len(message.images) for message in messages)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
