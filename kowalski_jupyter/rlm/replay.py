"""A recorded run, gone through again: the loop asks, and gets the replies that it got then.

The code of the recorded turns is run again by the loop itself, in a fresh kernel; its sub-calls are known by their
prompts (course.py). Where the record ends, the real model goes on, or, in a replay, the run ends.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from kowalski_jupyter.models.base import ChatModel, Delta, Job, Message, ModelError, Sampling, routing
from kowalski_jupyter.rlm.chat.folding import is_request
from kowalski_jupyter.rlm.course import COURSE
from kowalski_jupyter.rlm.record import RecordedReply

_WIDTH = 64


class RecordedModel:
    """The root model of a run, and of its child runs, which first says what it said then (`COURSE`).

    Args:
        then: says everything else; with None, nothing does.
        name: the model's id, where there is no `then`.
        ended: says to the user, where there is no `then`, that the record ends and what can be done.
    """

    def __init__(self, *, then: ChatModel | None = None, name: str = "", ended: Callable[[], str]) -> None:
        self.name = then.name if then else name
        self.where = then.where if then else "the record"
        self.context_tokens = then.context_tokens if then else None
        self.width = then.width if then else _WIDTH
        self._then = then
        self._ended = ended

    @property
    def routes(self) -> bool:
        """Whether the real model does."""
        return routing(self._then) is not None

    @property
    def gone(self) -> bool:
        """Never: there is the record."""
        return False

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """See `ChatModel.stream`. A recorded reply comes in one piece.

        Raises:
            ModelError: the record ends here, and no model goes on; or that model failed.
        """
        return self.route(messages, sampling, Job())

    async def route(self, messages: Sequence[Message], sampling: Sampling, job: Job) -> AsyncGenerator[Delta, None]:
        """See `Routes.route`."""
        reply = _next(COURSE.get().replies, messages)
        if reply is not None:
            if reply.reasoning:
                yield Delta(reasoning=reply.reasoning)
            yield Delta(reply.text)
            yield Delta(finish_reason=reply.finish_reason or "stop", usage=reply.usage)
        elif self._then is not None:
            routes = routing(self._then)
            then = routes.route(messages, sampling, job) if routes else self._then.stream(messages, sampling)
            async with aclosing(then) as deltas:
                async for delta in deltas:
                    yield delta
        else:
            raise ModelError(self._ended())

    async def aclose(self) -> None:
        """Leave the real model open: it is not ours."""


def _next(left: list[RecordedReply], messages: Sequence[Message]) -> RecordedReply | None:
    """Take the next recorded reply of a run; a fold that is not asked for this time is passed over."""
    folds = is_request(messages)
    while left and left[0].fold and not folds:
        del left[0]
    return left.pop(0) if left and left[0].fold == folds else None


class SilentModel:
    """Stands for a model whose replies are all known: those that are not cannot be had.

    Args:
        name: the model's id.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.where = "the record"
        self.context_tokens = None
        self.width = _WIDTH

    async def stream(self, messages: Sequence[Message], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """Fail."""
        del sampling
        nothing: Sequence[Delta] = ()
        for delta in nothing:
            yield delta
        raise ModelError(f"The record has no reply to this prompt: {messages[-1].content[:200]}")

    async def aclose(self) -> None:
        """Nothing to close."""
