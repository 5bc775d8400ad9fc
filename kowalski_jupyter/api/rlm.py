"""`RLM`: ask questions over values, from a notebook, a script, or within an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

from kowalski_jupyter.api.batch import MOST_PARALLEL, Task, in_order, read_task, run_all
from kowalski_jupyter.api.bundle import Document
from kowalski_jupyter.api.connected import told
from kowalski_jupyter.api.data import discard, make_aside, pack_all
from kowalski_jupyter.api.devices import Devices
from kowalski_jupyter.api.following import Following, OnUpdate, Step
from kowalski_jupyter.api.kept import KeptBatch, Outcome, Results, task_key
from kowalski_jupyter.api.progress import Meter, Progress
from kowalski_jupyter.api.result import Result, RlmError
from kowalski_jupyter.api.runs import Runs
from kowalski_jupyter.api.schema import Schema, as_json_schema
from kowalski_jupyter.kernels.base import DataItem
from kowalski_jupyter.rlm.events import Event
from kowalski_jupyter.service.options import check_options
from kowalski_jupyter.service.request import AgainRequest, RunRequest
from kowalski_jupyter.service.socket.asynchronous import AsyncServiceClient
from kowalski_jupyter.service.socket.client import ServiceClient
from kowalski_jupyter.service.socket.wire import SentAnswer, ServiceError, ServiceGoneError

_CANCEL_SECONDS = 2.0


class RLM(Runs, Devices):
    """A recursive language model with its settings. Nothing is started before the first run.

    Runs happen in the Jupyter server if this is one of its kernels, else in a thread of this process. All values must
    be data: text, bytes, numbers, lists, dicts, tables, arrays, or the `pathlib.Path` of a file or folder.

    Args:
        model: the root model's id, or the path of a .gguf file to embed. By default what is configured or found.
        url: base URL of an OpenAI-compatible or exo server, or several with commas, which are asked as one.
        sub_model: id of the model that answers sub-calls; by default the root model.
        max_turns: replies that the root model may give.
        timeout: seconds that a run may take.
        max_subcalls: sub-calls that a run and its child runs may make.
        max_prompt_tokens: tokens that they may send to models.
        max_completion_tokens: tokens that models may generate for them.
        depth: how deep models may ask models. 0: not; 1: code asks for plain completions; 2: it starts child runs ….
        seed: makes sampling repeatable where the model's server can do so.
        schema: what the answer must look like: a JSON Schema as a dict, or a pydantic model class, whose instance the
            answer then is.
        profile: name of a prompt profile; by default the one that suits the model.
        prompt: text of a prompt of your own, instead of a profile.
        fresh: ask models again even where an equal sub-call was answered before.
        reuse: take replies to equal sub-calls of earlier runs too.
        allow: what else code may reach: ``["net"]`` opens the network, this machine's own services included.
        mounts: paths of further files and folders that code may read, as it finds them below ``/data``.
        step: called with language and code of each block before it runs; returns the code to run, or None to skip
            it. True: each block waits for `decide`.
        on_update: called with a run's document (docs/run-format.md) as it grows, at most ten times a second, in the
            thread that asked (in one of its own for `batch`).

    Raises:
        ValueError: a setting is wrong; one line that says what is right.
    """

    def __init__(
        self,
        model: str | None = None,
        url: str | None = None,
        *,
        sub_model: str | None = None,
        max_turns: int | None = None,
        timeout: float | None = None,
        max_subcalls: int | None = None,
        max_prompt_tokens: int | None = None,
        max_completion_tokens: int | None = None,
        depth: int | None = None,
        seed: int | None = None,
        schema: Schema | None = None,
        profile: str | None = None,
        prompt: str | None = None,
        fresh: bool | None = None,
        reuse: bool | None = None,
        allow: Sequence[str] | None = None,
        mounts: Sequence[str | Path] | None = None,
        step: Step | bool = False,
        on_update: OnUpdate | None = None,
    ) -> None:
        super().__init__()
        self._options = check_options(
            {
                "model": model,
                "url": url,
                "sub_model": sub_model,
                "max_turns": max_turns,
                "timeout": timeout,
                "max_subcalls": max_subcalls,
                "max_prompt_tokens": max_prompt_tokens,
                "max_completion_tokens": max_completion_tokens,
                "depth": depth,
                "seed": seed,
                "schema": None if schema is None else as_json_schema(schema),
                "profile": profile,
                "prompt": prompt,
                "fresh": fresh,
                "reuse": reuse,
                "allow": allow,
                "mounts": mounts,
                "step": bool(step) or None,
            }
        )
        self._schema = schema
        self._step = step if callable(step) else None
        self._on_update = on_update

    # -- asking ----------------------------------------------------------------------------------------

    def run(self, question: str, context: Any = None, /, **data: Any) -> Result:
        """Ask a question and wait for the answer. Ctrl+C stops the run.

        Args:
            question: taken as it is.
            context: a value that the model's code finds as `context`.
            data: further values, each under its own name. With no value at all the model is asked directly.

        Raises:
            RlmError: there is no answer; `partial` has the best that there was.
        """
        with told():
            client = self._connected()
            request = self._request(client, question, context, data)
            return self._follow(client, client.run(request), request.data)

    async def arun(self, question: str, context: Any = None, /, **data: Any) -> Result:
        """Do what `run` does without blocking the event loop. Cancelling the task stops the run."""
        following = Following(self._on_update)
        sent = await self._to_end(following, question, context, data)
        with told():
            value = None if sent is None else sent.value()
        return following.conclude(value, self._schema)

    async def stream(self, question: str, context: Any = None, /, **data: Any) -> AsyncIterator[Event]:
        """Do what `run` does, giving the run's events as they happen (kowalski_jupyter/rlm/events.py).

        Leaving the iterator early cancels the run. The last event is a `RunFinished`; `attach` has the result.

        Raises:
            RlmError: the run could not be started, or its service went away.
        """
        following = Following(self._on_update)
        async with self._opened(question, context, data, following) as (_, batches):
            async for batch in batches:
                following.take(batch)
                for event in batch:
                    yield event

    def batch(
        self,
        tasks: Iterable[Task],
        *,
        max_parallel: int = 4,
        priorities: Sequence[int] | None = None,
        name: str | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Results:
        """Run many tasks and return what each came to, in their order.

        Ctrl+C lets those finish that run, and begins no more; a second one stops them all.

        Args:
            tasks: questions, pairs of question and context, or mappings with ``question`` and the data by name.
            max_parallel: how many may go on at a time, up to 50.
            priorities: one for each task; higher ones are begun first.
            name: keeps each result as it comes, under this name. Called again with it, after a stop or a crash, only
                the tasks that have no result are run, and those that were changed.
            on_progress: called in this thread as tasks end.

        Returns:
            For each task its `Result`, or the `RlmError` that it failed of.
        """
        if not 1 <= max_parallel <= MOST_PARALLEL:
            raise ValueError(f"max_parallel must be a whole number from 1 to {MOST_PARALLEL}, not {max_parallel!r}.")
        all_tasks = list(tasks)
        order = in_order(len(all_tasks), priorities)
        kept = KeptBatch(name, [self._key(task) for task in all_tasks])
        begun = dict(kept.missing())
        meter = Meter(len(all_tasks), len(all_tasks) - len(begun), kept.failed())
        if begun:
            with told():
                address = self._connected().address

            async def one(number: int, client: AsyncServiceClient) -> bool:
                outcome = await self._outcome(client, all_tasks[number], begun[number], partial(kept.began, number))
                kept.keep(number, outcome)
                return outcome.error is not None

            jobs = [partial(one, number) for number in order if number in begun]
            try:
                run_all(
                    jobs,
                    width=max_parallel,
                    meter=meter,
                    on_progress=on_progress or (lambda _: None),
                    open_way=lambda: AsyncServiceClient(address),
                )
            except* ServiceGoneError as gone:
                again = f"; call `batch` again with name={name!r} to go on" if name else ""
                raise RlmError(f"{gone.exceptions[0]} {meter.done} of {meter.total} tasks are done{again}.") from None
        return Results(kept, len(all_tasks), self._schema)

    def _key(self, task: Task) -> str:
        try:
            return task_key(*read_task(task), self._options)
        except RlmError:
            return ""

    async def _outcome(self, client: AsyncServiceClient, task: Task, run: str, began: Callable[[str], None]) -> Outcome:
        """Return what a task comes to, or what the run came to that was begun for it earlier.

        Raises:
            ServiceGoneError: the service went away; what the task comes to is not known.
        """
        if run and (earlier := await _of_earlier(client, run)) is not None:
            return earlier
        following = Following(self._on_update)
        sent: SentAnswer | None = None
        try:
            question, data = read_task(task)
            sent = await self._to_end(following, question, None, data, client=client, began=began)
            return Outcome(sent, None, following.conclude(None).document)
        except RlmError as error:
            if isinstance(error.__cause__, ServiceGoneError):
                raise error.__cause__ from error
            return Outcome(sent, str(error), error.document)

    def start(self, question: str, context: Any = None, /, **data: Any) -> str:
        """Start a run that goes on by itself, and return its id at once; `attach` waits for it."""
        with told():
            client = self._connected()
            request = self._request(client, question, context, data, detach=True)
            following = Following(self._on_update)
            try:
                with client.run(request) as batches:
                    for batch in batches:
                        following.take(batch)
                        if following.run:
                            break
            except BaseException:
                if not following.run:
                    discard(request.data)
                raise
            return following.run

    # -- runs that there are ---------------------------------------------------------------------------

    def attach(self, run_id: str) -> Result:
        """Wait for a run and return its result; at once if it has ended. Ctrl+C stops waiting, not the run."""
        with told():
            client = self._connected()
            return self._follow(client, client.follow(run_id), (), cancels=False)

    def resume(
        self, run_id: str, data: Mapping[str, Any] | None = None, *, turn: int | None = None, reply: str | None = None
    ) -> Result:
        """Go on with a run that was interrupted, as a new run: what it had paid for is not paid again.

        Args:
            run_id: the recorded run.
            data: the values that it was asked about, by name; they are not kept with the record.
            turn: go on from this turn, asking the model anew, rather than from the first that has no reply.
            reply: with `turn`: branch off as if the model had said this in that turn.
        """
        with told():
            client = self._connected()
            packed = pack_all(data or {}, client.info.data_root)
            request = AgainRequest(packed, turn, reply, self._options)
            return self._follow(client, client.resume(run_id, request), packed)

    def replay(self, run_id: str, data: Mapping[str, Any] | None = None) -> Result:
        """Go through a run again with the replies of its record, as a new run that asks no model.

        What differs from the record stands in the notices of the result's document.
        """
        with told():
            client = self._connected()
            packed = pack_all(data or {}, client.info.data_root)
            return self._follow(client, client.replay(run_id, AgainRequest(packed)), packed)

    # -- inside ----------------------------------------------------------------------------------------

    def _request(
        self, client: ServiceClient, question: str, context: Any, data: Mapping[str, Any], *, detach: bool = False
    ) -> RunRequest:
        if not isinstance(question, str) or not question.strip():
            raise RlmError("The question must be a text that says something.")
        values = dict(data) if context is None else {"context": context, **data}
        return RunRequest(question, pack_all(values, client.info.data_root), self._options, detach)

    def _follow(
        self,
        client: ServiceClient,
        opened: AbstractContextManager[Iterator[list[Event]]],
        data: Sequence[DataItem],
        *,
        cancels: bool = True,
    ) -> Result:
        """Follow a run to its end; `cancels` says whether leaving early stops it."""
        following = Following(self._on_update)
        try:
            with opened as batches:
                for batch in batches:
                    following.take(batch)
                    if following.waiting is not None and self._step is not None:
                        word = following.word(self._step)
                        with suppress(ServiceError):  # as in arun
                            client.steer(following.run, **word)
            value = client.answer(following.run) if following.answered else None
        except ServiceError as error:
            discard(data)
            raise following.broken(error) from error
        except KeyboardInterrupt:
            if not following.run:
                discard(data)
            elif cancels:
                following.show(_last_document(client, following))
            raise
        return following.conclude(value, self._schema)

    async def _to_end(
        self,
        following: Following,
        question: str,
        context: Any,
        data: Mapping[str, Any],
        *,
        client: AsyncServiceClient | None = None,
        began: Callable[[str], None] = lambda _: None,
    ) -> SentAnswer | None:
        """Follow a run to its end and return its answer; `began` is told its id."""
        async with self._opened(question, context, data, following, client) as (asked, batches):
            async for batch in batches:
                if not following.run:
                    following.take(batch)
                    began(following.run)
                else:
                    following.take(batch)
                if following.waiting is not None and self._step is not None:
                    word = await asyncio.to_thread(following.word, self._step)
                    with suppress(ServiceError):  # someone else was faster; if the service is gone, the stream says so
                        await asked.steer(following.run, **word)
            return await asked.answer(following.run) if following.answered else None

    @asynccontextmanager
    async def _opened(
        self,
        question: str,
        context: Any,
        data: Mapping[str, Any],
        following: Following,
        client: AsyncServiceClient | None = None,
    ) -> AsyncIterator[tuple[AsyncServiceClient, AsyncIterator[list[Event]]]]:
        """Start a run and give its events; leaving early cancels it. A `client` that is given stays open."""
        packed: Sequence[DataItem] = ()
        try:
            connected = (
                self._client if client is not None and self._client else await asyncio.to_thread(self._connected)
            )
            request = (
                await make_aside(lambda: self._request(connected, question, context, data))
                if data or context is not None
                else self._request(connected, question, context, data)
            )
            packed = request.data
            way = AsyncServiceClient(connected.address) if client is None else nullcontext(client)
            async with way as asked, asked.run(request) as batches:
                yield asked, batches
        except ServiceError as error:
            discard(packed)
            raise following.broken(error) from error
        except BaseException:
            if not following.run:
                discard(packed)
            raise


async def _of_earlier(client: AsyncServiceClient, run: str) -> Outcome | None:
    """Return what a run came to that an earlier call had begun; None if it did not answer: then it is run again."""
    try:
        document = await client.document(run)
        return Outcome(await client.answer(run), None, document) if document["state"] == "done" else None
    except ServiceError:
        return None


def _last_document(client: ServiceClient, following: Following) -> Document:
    """Return a run's last picture after its stream was closed."""
    try:
        return client.ended(following.run, within=_CANCEL_SECONDS)
    except ServiceError:
        return following.cut_short()
