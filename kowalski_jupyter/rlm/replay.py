"""A recorded run, gone through again: the loop asks, and gets the replies that it got then.

The code of the recorded turns is run again by the loop itself, in a fresh kernel; its sub-calls are known by their
keys (memo.py). Where the record ends, the real model goes on, or, in a replay, the run.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass

from kowalski_jupyter.models.base import ChatModel, Delta, Job, Message, ModelError, Sampling, routing
from kowalski_jupyter.rlm.chat.folding import is_request
from kowalski_jupyter.rlm.record import RecordedReply

CHILD: ContextVar[str] = ContextVar("child", default="")
"""Which run of a tree the running task belongs to: what its id has behind that of the first run, "" for the first."""

_WIDTH = 64


@dataclass(frozen=True, slots=True)
class Chat:
    """What the root model of one run said, and to which question."""

    question: str
    replies: Sequence[RecordedReply]


class RecordedModel:
    """The root model of a run, and of its child runs, which first says what it said then.

    Args:
        chats: what it says, by the run (`CHILD`). A child run that is asked something else now is not in the record.
        then: says everything else; with None, nothing does.
        name: the model's id, where there is no `then`.
    """

    def __init__(self, chats: Mapping[str, Chat], *, then: ChatModel | None = None, name: str = "") -> None:
        self.name = then.name if then else name
        self.where = then.where if then else "the record"
        self.context_tokens = then.context_tokens if then else None
        self.width = then.width if then else _WIDTH
        self._chats = chats
        self._left: dict[str, list[RecordedReply]] = {}
        self._then = then

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
        reply = self._next(CHILD.get(), messages)
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
            raise ModelError("The record ends here. `%rlm resume ID` goes on from there with a model.")

    async def aclose(self) -> None:
        """Leave the real model open: it is not ours."""

    def _next(self, child: str, messages: Sequence[Message]) -> RecordedReply | None:
        """Return the next recorded reply of a run; a fold that is not asked for this time is passed over."""
        if child not in self._left:
            chat = self._chats.get(child)
            asked = chat is not None and any(chat.question in message.content for message in messages)
            self._left[child] = list(chat.replies) if chat and asked else []
        left = self._left[child]
        folds = is_request(messages)
        while left and left[0].fold and not folds:
            del left[0]
        return left.pop(0) if left and left[0].fold == folds else None


class SilentModel:
    """Stands for a model whose replies are all known: those that are not cannot be had.

    Args:
        name: the model's id.
        failures: why it failed then, by prompt.
    """

    def __init__(self, name: str, failures: Mapping[str, str]) -> None:
        self.name = name
        self.where = "the record"
        self.context_tokens = None
        self.width = _WIDTH
        self._failures = failures

    async def stream(self, messages: Sequence[Message], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """Fail, with the recorded error where there is one."""
        del sampling
        nothing: Sequence[Delta] = ()
        for delta in nothing:
            yield delta
        prompt = messages[-1].content
        raise ModelError(self._failures.get(prompt, f"The record has no reply to this prompt: {prompt[:200]}"))

    async def aclose(self) -> None:
        """Nothing to close."""
