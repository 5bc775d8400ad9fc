"""What the code of a run may ask for: sub-calls, child runs and the final answer (`kernels.base.Calls`)."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from kowalski_jupyter.kernels.base import Query, Value
from kowalski_jupyter.kernels.values import encode, untagged
from kowalski_jupyter.models.base import Message, ModelError, Sampling, Usage
from kowalski_jupyter.rlm.budget import Budget
from kowalski_jupyter.rlm.calls.memo import Memo, memo_key
from kowalski_jupyter.rlm.calls.options import PromptOptions, SubcallError
from kowalski_jupyter.rlm.calls.schema import MismatchError, correction, instruction, read_reply, validate
from kowalski_jupyter.rlm.calls.shelf import Shelf
from kowalski_jupyter.rlm.course import Course
from kowalski_jupyter.rlm.endpoints import Endpoint, Endpoints
from kowalski_jupyter.rlm.events import Event, SubcallFinished, SubcallSent, SubcallStarted
from kowalski_jupyter.rlm.protocol.thoughts import strip_thoughts
from kowalski_jupyter.rlm.record import Outcome
from kowalski_jupyter.rlm.settings import RunSettings

_T = TypeVar("_T")

_TRIES = 3
"""How often a model is asked for a reply that fulfils a schema."""

_MOST_CHILDREN = 16
"""Child runs at a time, however wide the model: each has a kernel."""

StartChild = Callable[[str, Query, str | None, Course], Awaitable[Value]]
"""Runs a child run of that id, with a root model of that id or the run's own, through that course first, and returns
its answer."""


class RunCalls:
    """The calls of one run, as wide as its models really work, counted, remembered and stoppable.

    Args:
        endpoints: the models, shared with the run's whole tree.
        budget: of the tree.
        memo: replies that are known.
        emit: takes the events.
        settings: of the run.
        course: what a recorded run's calls came to, which those that are like them come to again.
        run: the run's id, of which those of its children are made.
        answer_schema: what the answer must fulfil.
        start_child: runs a child run, or None where the run may have none: then a query is a plain sub-call.

    Attributes:
        cell: the cell that is running, for the events.
        answer: what `FINAL` was given.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        budget: Budget,
        memo: Memo,
        emit: Callable[[Event], None],
        settings: RunSettings,
        *,
        course: Course,
        run: str,
        answer_schema: Mapping[str, Any] | None = None,
        start_child: StartChild | None = None,
    ) -> None:
        self.cell = ""
        self.answer: Value | None = None
        self._endpoints = endpoints
        self._budget = budget
        self._memo = memo
        self._emit = emit
        self._settings = settings
        self._course = course
        self._run = run
        self._answer_schema = answer_schema
        self._start_child = start_child
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopped = False
        self._shelf = Shelf()

    @property
    def checks_answer(self) -> bool:
        """See `Calls.checks_answer`."""
        return self._answer_schema is not None

    @property
    def starts_runs(self) -> bool:
        """See `Calls.starts_runs`."""
        return self._start_child is not None

    def stop(self) -> None:
        """Cancel what is in flight and refuse everything after. The run calls it before it ends a kernel."""
        self._stopped = True
        for task in self._tasks:
            task.cancel()

    async def llm_query(self, prompt: str, options: Mapping[str, Any]) -> Any:
        """Answer one prompt.

        Raises:
            SubcallError: with the reason, for the model's code.
        """
        [reply] = await self.llm_query_batched([prompt], options)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def llm_query_batched(self, prompts: Sequence[str], options: Mapping[str, Any]) -> list[Any | Exception]:
        """Answer the prompts in order; an item that failed is an exception."""
        read = PromptOptions.read(options, max_tokens=self._settings.subcall_tokens)
        return await self._guarded(self._batch(prompts, read))

    async def rlm_query_batched(self, queries: Sequence[Query], options: Mapping[str, Any]) -> list[Value | Exception]:
        """Answer each query by a child run, or by a plain completion where the run may have no children."""
        read = PromptOptions.read(options, max_tokens=self._settings.subcall_tokens, known=("model",))
        if self._start_child is not None:
            return await self._guarded(self._children(self._start_child, queries, read.model))
        replies = await self._guarded(self._batch([_as_prompt(query) for query in queries], read))
        return [reply if isinstance(reply, Exception) else text_value(reply) for reply in replies]

    async def final(self, answer: Value) -> None:
        """Take the answer; the first one counts. Where the user set a schema, it is kept as the JSON that fulfils it.

        Raises:
            SubcallError: it does not fulfil the schema; the message says where.
        """
        if self._answer_schema is not None:
            if answer.kind != "json":
                raise SubcallError(f"The answer must be JSON that fulfils the schema, not {answer.type}.")
            try:
                value = untagged(answer.data, strictly=True)
                validate(value, self._answer_schema)
            except ValueError as error:
                raise SubcallError(
                    f"The answer does not fulfil the schema: {error}. Mend it and call FINAL again."
                ) from None
            answer = json_value(value)
        if self.answer is None:
            self.answer = answer

    async def share(self, name: str, value: Value) -> None:
        """Keep a value for the run's code in other languages. Raises SubcallError if there is no room."""
        self._shelf.put(name, value)

    async def shared(self, name: str) -> Value:
        """Return what is kept under a name. Raises SubcallError if nothing is."""
        return self._shelf.get(name)

    async def _guarded(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Do `work` where `stop` reaches it: in the task of the code's request, which does nothing else."""
        task = asyncio.current_task()
        if self._stopped or task is None:
            work.close()
            raise SubcallError("The run has ended; no further sub-calls.")
        self._tasks.add(task)
        try:
            return await work
        finally:
            self._tasks.discard(task)

    # -- prompts ---------------------------------------------------------------------------------------

    async def _batch(self, prompts: Sequence[str], options: PromptOptions) -> list[Any | Exception]:
        """Answer what is known at once, book the rest, and ask for it; nothing is sent if that is too much."""
        try:
            endpoint = await self._endpoints.open(options.model or self._settings.sub_model or None)
        except ModelError as error:
            raise SubcallError(str(error)) from error
        named = self._keys(prompts, options)
        keys = [key_at(endpoint.model.name) for key_at in named]
        known = [self._known(*each, options) for each in zip(prompts, keys, named, strict=True)]
        self._budget.book_subcalls(sum(outcome is None for outcome in known))
        if len(prompts) == 1:
            return [await self._item(endpoint, prompts[0], keys[0], known[0], options)]
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._item(endpoint, prompt, key, outcome, options))
                for prompt, key, outcome in zip(prompts, keys, known, strict=True)
            ]
        return [task.result() for task in tasks]

    def _keys(self, prompts: Sequence[str], options: PromptOptions) -> list[Callable[[str], str]]:
        """Return for each prompt what gives its name for the memo, by the model that is asked.

        One that stands twice in a batch is asked twice: that is what a vote needs.
        """
        parameters = {**options.parameters(), "temperature": self._settings.temperature}
        seen: dict[str, int] = {}
        keys: list[Callable[[str], str]] = []
        for prompt in prompts:
            same = seen.get(prompt, 0)
            seen[prompt] = same + 1
            keys.append(functools.partial(memo_key, prompt=prompt, parameters={**parameters, "same": same}))
        return keys

    def _known(self, prompt: str, key: str, key_at: Callable[[str], str], options: PromptOptions) -> Outcome | None:
        """Return what a prompt came to in the recorded run, else what the memo has; None to ask for it.

        Where code names no model, the recorded run's may have been another one.
        """
        recorded = self._course.call(prompt, key, (lambda _: key) if options.model else key_at)
        if recorded is None:
            reply = None if self._settings.fresh else self._memo.get(key)
            return None if reply is None else Outcome(reply)
        if recorded.outcome and not recorded.outcome.error:
            self._memo.put(key, recorded.outcome.reply)
        return recorded.outcome

    async def _item(
        self, endpoint: Endpoint, prompt: str, key: str, known: Outcome | None, options: PromptOptions
    ) -> Any | Exception:
        """Answer one prompt when there is a place for it, and report it as events."""
        number = next(self._numbers)
        started, waiting = time.monotonic(), True
        self._emit(SubcallStarted(self.cell, number, endpoint.model.name, prompt, key))
        reply, error, usage = known.reply if known else "", "", None
        try:
            if known is not None and known.error:
                raise SubcallError(known.error)  # noqa: TRY301 (told like any other)
            if known is None:
                self._check(prompt, endpoint, options)

                def sent() -> None:
                    nonlocal started, waiting
                    if waiting:
                        waiting, started = False, time.monotonic()
                        self._emit(SubcallSent(number))

                reply, usage = await self._ask(endpoint, prompt, number, options, sent)
                self._memo.put(key, reply)
            return read_reply(reply, options.schema) if options.schema else reply
        except (ModelError, MismatchError, SubcallError) as failure:
            error = str(failure)
            return SubcallError(error)
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
                    known is not None,
                )
            )

    def _check(self, prompt: str, endpoint: Endpoint, options: PromptOptions) -> None:
        if not prompt.strip():
            raise SubcallError("The prompt is empty.")
        excess = endpoint.excess(prompt, options.max_tokens)
        if excess > 0:
            window = endpoint.window or 0
            room = window - options.max_tokens
            raise SubcallError(
                f"The prompt has about {room + excess:,} tokens, {excess:,} more than fit: {endpoint.model.name} takes "
                f"{window:,}, of which {options.max_tokens:,} are for the reply. Use at most "
                f"{int(len(prompt) * room / (room + excess) * 0.95):,} characters of the {len(prompt):,}."
            )

    async def _ask(
        self, endpoint: Endpoint, prompt: str, number: int, options: PromptOptions, sent: Callable[[], None]
    ) -> tuple[str, Usage | None]:
        """Return the reply to one prompt, asked again where it does not fulfil the schema."""
        messages = [Message("user", f"{prompt}\n\n{instruction(options.schema)}" if options.schema else prompt)]
        sampling = Sampling(
            max_tokens=options.max_tokens,
            temperature=self._settings.temperature,
            seed=self._settings.seed * 10_000 + number,
        )
        for left in reversed(range(_TRIES)):
            reply, usage = await _complete(endpoint, messages, sampling, sent)
            if not options.schema or not left:
                break
            try:
                read_reply(reply, options.schema)
                break
            except MismatchError as error:
                messages += [Message("assistant", reply or "(empty)"), Message("user", correction(error))]
        return reply, usage

    # -- child runs ------------------------------------------------------------------------------------

    async def _children(self, start: StartChild, queries: Sequence[Query], model: str) -> list[Value | Exception]:
        endpoint = await self._endpoints.open(None)
        places = asyncio.Semaphore(min(_MOST_CHILDREN, max(2, endpoint.model.width)))
        self._budget.book_subcalls(len(queries))

        async def child(query: Query) -> Value | Exception:
            number = next(self._numbers)
            started = time.monotonic()
            run = f"{self._run}-{number}"
            key = _child_key(query, model)
            course = self._course.child(key, query.question)
            self._emit(SubcallStarted(self.cell, number, model or endpoint.model.name, query.question, key, run))
            text, error = "", ""
            try:
                if course.error:
                    raise SubcallError(course.error)  # noqa: TRY301 (told like any other)
                async with places:
                    self._emit(SubcallSent(number))
                    started = time.monotonic()
                    value = await start(run, query, model or None, course)
            except SubcallError as failure:
                error = str(failure)
                return failure
            except asyncio.CancelledError:
                error = "stopped"
                raise
            else:
                text = value.text
                return value
            finally:
                self._emit(SubcallFinished(number, text, error, time.monotonic() - started))

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(child(query)) for query in queries]
        return [task.result() for task in tasks]


async def _complete(
    endpoint: Endpoint, messages: Sequence[Message], sampling: Sampling, sent: Callable[[], None]
) -> tuple[str, Usage | None]:
    pieces: list[str] = []
    usage = None
    async with aclosing(endpoint.stream(messages, sampling, "subcall", sent)) as deltas:
        async for delta in deltas:
            if delta.restarted:
                pieces.clear()
            pieces.append(delta.text)
            usage = delta.usage or usage
    return strip_thoughts("".join(pieces)).strip(), usage


def _child_key(query: Query, model: str) -> str:
    """Return a name for a query with all that shapes its answer."""
    context = query.context
    said = None if context is None else [context.kind, hashlib.blake2b(context.data, digest_size=16).hexdigest()]
    return memo_key(model, query.question, {"context": said})


def _as_prompt(query: Query) -> str:
    """Return a query as one prompt, with its context, which the kernel has written out."""
    if query.context is None:
        return query.question
    text = json.loads(query.context.data) if query.context.kind == "json" else None
    if not isinstance(text, str):
        raise SubcallError("Where no further runs can be started, a context has to be sent as text.")
    return f"{query.question}\n\n{text}"


def json_value(value: Any) -> Value:
    """Return JSON as the value that code in a kernel would have given."""
    return Value(*encode(value))  # type: ignore[arg-type]  # one of its kinds


def text_value(text: str) -> Value:
    """Return a text as the value that code in a kernel would have given."""
    return Value("json", "str", text, json.dumps(text).encode())
