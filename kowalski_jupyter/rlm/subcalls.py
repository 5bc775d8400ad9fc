"""What the code of a run may ask for: sub-calls and the final answer (`kernels.base.Calls`)."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from kowalski_jupyter.kernels.base import Answer
from kowalski_jupyter.models.base import ChatModel, Message, ModelError, Sampling, Usage
from kowalski_jupyter.rlm.events import Event, SubcallFinished, SubcallSent, SubcallStarted
from kowalski_jupyter.rlm.thoughts import strip_thoughts

_T = TypeVar("_T")


class SubcallError(Exception):
    """A sub-call could not be made or answered. The message is for the model's code."""


@dataclass(frozen=True, slots=True)
class _Options:
    """What a caller may set for a sub-call."""

    max_tokens: int

    @classmethod
    def read(cls, options: Mapping[str, Any], *, max_tokens: int) -> _Options:
        unknown = set(options) - {"max_tokens"}
        if unknown:
            raise SubcallError(f"llm_query does not take {', '.join(sorted(unknown))}; it takes max_tokens.")
        wanted = options.get("max_tokens") or max_tokens
        if not isinstance(wanted, int) or wanted < 1:
            raise SubcallError(f"max_tokens must be a positive int, not {wanted!r}.")
        return cls(wanted)


class RunCalls:
    """The calls of one run, as wide as its model really works, countable and stoppable.

    Args:
        model: answers the sub-calls.
        emit: takes the events.
        seed: the run's seed; every sub-call samples with a seed of its own, derived from it.
        max_tokens: the default length of a reply.
        temperature: how freely replies are sampled.
        most: how many sub-calls the run may make.
    """

    def __init__(
        self,
        model: ChatModel,
        emit: Callable[[Event], None],
        *,
        seed: int,
        max_tokens: int,
        temperature: float,
        most: int,
    ) -> None:
        self.cell = ""
        self.answer: Answer | None = None
        self._model = model
        self._emit = emit
        self._seed = seed
        self._max_tokens = max_tokens
        self._temperature = temperature
        self._left = most
        self._numbers = itertools.count(1)
        self._places = asyncio.Semaphore(model.width)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopped = False

    def stop(self) -> None:
        """Cancel what is in flight and refuse everything after. The run calls it before it ends a kernel."""
        self._stopped = True
        for task in self._tasks:
            task.cancel()

    async def llm_query(self, prompt: str, options: Mapping[str, Any]) -> str:
        """Answer one prompt.

        Raises:
            SubcallError: with the reason, for the model's code.
        """
        read = _Options.read(options, max_tokens=self._max_tokens)
        self._book(1)
        return await self._guarded(self._ask(prompt, read))

    async def llm_query_batched(self, prompts: Sequence[str], options: Mapping[str, Any]) -> list[Any]:
        """Answer the prompts in order; an item that failed is ``{"error": reason}``."""
        read = _Options.read(options, max_tokens=self._max_tokens)

        self._book(len(prompts))

        async def item(prompt: str) -> str | dict[str, str]:
            try:
                return await self._ask(prompt, read)
            except SubcallError as error:
                return {"error": str(error)}

        async def batch() -> list[Any]:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(item(prompt)) for prompt in prompts]
            return [task.result() for task in tasks]

        return await self._guarded(batch())

    async def final(self, answer: Answer) -> None:
        """Take the answer; the first one counts."""
        if self.answer is None:
            self.answer = answer

    def _book(self, number: int) -> None:
        """Refuse sub-calls before the first one is sent if there are more than the run has left."""
        if number > self._left:
            raise SubcallError(
                f"That is {number:,} model calls, and this run has {self._left:,} left. Do it with code alone, or pick "
                "the few parts that need judgement with code first."
            )
        self._left -= number

    async def _guarded(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run `work` as a task that `stop` reaches."""
        if self._stopped:
            work.close()
            raise SubcallError("The run has ended; no further sub-calls.")
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        try:
            return await task
        finally:
            self._tasks.discard(task)

    async def _ask(self, prompt: str, options: _Options) -> str:
        """Send one prompt when there is a place for it, and report it as events."""
        if not isinstance(prompt, str) or not prompt.strip():
            raise SubcallError(f"llm_query needs a prompt that is a non-empty str, not {type(prompt).__name__}.")
        number = next(self._numbers)
        started = time.monotonic()
        self._emit(SubcallStarted(self.cell, number, self._model.name, prompt))
        reply, error, usage = "", "", None
        try:
            async with self._places:
                self._emit(SubcallSent(number))
                started = time.monotonic()
                reply, usage = await self._complete(prompt, number, options)
        except ModelError as failure:
            error = str(failure)
            raise SubcallError(error) from failure
        except asyncio.CancelledError:
            error = "stopped"
            raise
        finally:
            self._emit(
                SubcallFinished(
                    number,
                    reply,
                    error,
                    time.monotonic() - started,
                    usage.prompt_tokens if usage else None,
                    usage.completion_tokens if usage else None,
                )
            )
        return reply

    async def _complete(self, prompt: str, number: int, options: _Options) -> tuple[str, Usage | None]:
        sampling = Sampling(
            max_tokens=options.max_tokens, temperature=self._temperature, seed=self._seed * 10_000 + number
        )
        pieces: list[str] = []
        usage = None
        async with aclosing(self._model.stream([Message("user", prompt)], sampling)) as deltas:
            async for delta in deltas:
                pieces.append(delta.text)
                usage = delta.usage or usage
        return strip_thoughts("".join(pieces)).strip(), usage
