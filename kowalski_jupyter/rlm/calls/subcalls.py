"""What the code of a run may ask for: sub-calls, child runs and the final answer (`kernels.base.Calls`)."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from kowalski_jupyter.kernels.base import Query, Value
from kowalski_jupyter.kernels.values import encode, untagged
from kowalski_jupyter.models.base import Message, ModelError, ModelRejectedError, Sampling, Usage
from kowalski_jupyter.rlm.budget import Budget, SubcallsRefusedError
from kowalski_jupyter.rlm.calls.memo import Memo, memo_key
from kowalski_jupyter.rlm.calls.options import PromptOptions, SubcallError
from kowalski_jupyter.rlm.calls.prompts import Prompt, Reply
from kowalski_jupyter.rlm.calls.schema import MismatchError, correction, instruction, read_reply, validate
from kowalski_jupyter.rlm.calls.shelf import Shelf
from kowalski_jupyter.rlm.calls.window import misfit
from kowalski_jupyter.rlm.course import Course
from kowalski_jupyter.rlm.endpoints import Endpoint, Endpoints
from kowalski_jupyter.rlm.events import Event, SubcallFinished, SubcallSent, SubcallStarted
from kowalski_jupyter.rlm.record import Outcome
from kowalski_jupyter.rlm.settings import RunSettings

_T = TypeVar("_T")

_TRIES = 3
"""How often a model is asked for a reply that fulfils a schema."""

_MOST_CHILDREN = 16
"""Child runs at a time, however wide the model: each has a kernel."""

_EMPTY = "The prompt is empty."

_MOST_NAMED = 20
"""Models that are named to code which has asked for one that is not there."""

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
        seed: of the tree.
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
        seed: int,
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
        self._seed = seed
        self._answer_schema = answer_schema
        self._start_child = start_child
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopped = False
        self._shelf = Shelf()
        self._took: dict[str, Usage] = {}

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

    def took(self, run: str, tokens: Usage) -> None:
        """Note what a child run has taken, whose call is about to end."""
        self._took[run] = tokens

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
        endpoint = await self._open(options.model)
        asked = self._asked(prompts, options, endpoint)
        self._budget.book_subcalls(sum(each.is_sent for each in asked))
        if len(asked) == 1:
            return [await self._item(endpoint, asked[0], options)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._item(endpoint, each, options)) for each in asked]
        return [task.result() for task in tasks]

    async def _open(self, model: str) -> Endpoint:
        """Return the model of that id, or the one that the user set for sub-calls."""
        try:
            return await self._endpoints.open(model or self._settings.sub_model or None)
        except ModelError as error:
            if not model or not error.available:
                raise SubcallError(str(error)) from error
            others = ", ".join(error.available[:_MOST_NAMED])
            raise SubcallError(
                f"There is no model {model!r} to ask. Leave out `model`, or give one of: {others}."
            ) from error

    def _asked(self, prompts: Sequence[str], options: PromptOptions, endpoint: Endpoint) -> list[Prompt]:
        """Name each prompt for the memo, and look it up. One that stands twice in a batch is asked twice, as by a vote.

        What the seed changes is another reply; 0, the usual one, is left out.
        """
        parameters = {**options.parameters(), "temperature": self._settings.temperature}
        if self._seed:
            parameters["seed"] = self._seed
        added = f"\n\n{instruction(options.schema)}" if options.schema else ""
        seen: dict[str, int] = {}
        asked = []
        for prompt in prompts:
            same = seen.get(prompt, 0)
            seen[prompt] = same + 1
            key_at = partial(memo_key, prompt=prompt, parameters={**parameters, "same": same})
            key = key_at(endpoint.model.name)
            known = self._known(prompt, key, key_at, options)
            refusal = ""
            if known is None:
                refusal = misfit(endpoint, prompt, prompt + added, options.max_tokens) if prompt.strip() else _EMPTY
            asked.append(Prompt(prompt, prompt + added, key, known, refusal))
        return asked

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

    async def _item(self, endpoint: Endpoint, prompt: Prompt, options: PromptOptions) -> Any | Exception:
        """Answer one prompt when there is a place for it, and report it as events."""
        number = next(self._numbers)
        started, waiting = time.monotonic(), True
        self._emit(SubcallStarted(self.cell, number, endpoint.model.name, prompt.text, prompt.key))
        known = prompt.known or Outcome("", prompt.refusal, lasting=bool(prompt.refusal))
        reply, error, lasting = Reply(known.reply), known.error, known.lasting

        def sent() -> None:
            nonlocal started, waiting
            if waiting:
                waiting, started = False, time.monotonic()
                self._emit(SubcallSent(number))

        try:
            if error:
                return SubcallError(error, lasting=lasting)
            if prompt.known:
                return _value(reply, options)
            sampling = Sampling(
                max_tokens=options.max_tokens,
                temperature=self._settings.temperature,
                seed=self._settings.seed * 10_000 + number,
            )
            ask = partial(reply.read, endpoint, sampling=sampling, sent=sent)
            value = await self._ask(ask, prompt.message, reply, options)
            self._memo.put(prompt.key, reply.text)
        except (ModelError, MismatchError, SubcallError) as failure:
            error, lasting = str(failure), isinstance(failure, ModelRejectedError)
            return SubcallError(error, lasting=lasting)
        except asyncio.CancelledError:
            error = "stopped"
            raise
        else:
            return value
        finally:
            usage = reply.usage
            self._emit(
                SubcallFinished(
                    number,
                    reply.text,
                    error,
                    time.monotonic() - started,
                    usage.prompt_tokens if usage else None,
                    usage.completion_tokens if usage else None,
                    prompt.known is not None,
                    lasting,
                )
            )

    async def _ask(
        self, read: Callable[[list[Message]], Awaitable[None]], message: str, reply: Reply, options: PromptOptions
    ) -> Any:
        """Return what the model says, asked again where its reply does not fulfil the schema."""
        messages = [Message("user", message)]
        for left in reversed(range(_TRIES)):
            await read(messages)
            try:
                return _value(reply, options)
            except MismatchError as error:
                if not left:
                    raise
                self._book_again(error)
                messages += [Message("assistant", reply.text or "(empty)"), Message("user", correction(error))]
        raise AssertionError

    def _book_again(self, error: MismatchError) -> None:
        """Take a further request for the same reply out of the budget."""
        try:
            self._budget.book_subcalls(1)
        except SubcallsRefusedError:
            raise MismatchError(f"{error}; the model was not asked again, as no model calls are left") from None

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
                took = self._took.pop(run, Usage(0, 0))
                tokens = (took.prompt_tokens, took.completion_tokens)
                self._emit(SubcallFinished(number, text, error, time.monotonic() - started, *tokens))

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(child(query)) for query in queries]
        return [task.result() for task in tasks]


def _value(reply: Reply, options: PromptOptions) -> Any:
    """Return what code is given of a reply. Raises MismatchError if it does not fulfil the schema."""
    return reply.text if options.checked is None else read_reply(reply.text, options.checked)


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
