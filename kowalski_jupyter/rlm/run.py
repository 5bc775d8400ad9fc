"""One run: from a question to an answer, a failure or a cancellation, told as events."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kowalski_jupyter.kernels.base import CLOSED, FUNCTIONS, DataItem, Function, KernelError, Query, Value
from kowalski_jupyter.kernels.pack import PackError
from kowalski_jupyter.kernels.rich import rich_of
from kowalski_jupyter.models.base import ModelError, ModelUnreachableError, Sampling, Usage
from kowalski_jupyter.rlm import events as ev
from kowalski_jupyter.rlm.budget import Budget, LimitReachedError
from kowalski_jupyter.rlm.calls.memo import Memo, RunMemo
from kowalski_jupyter.rlm.calls.options import SubcallError
from kowalski_jupyter.rlm.calls.subcalls import RunCalls, text_value
from kowalski_jupyter.rlm.chat.prompts import PROFILES, Profile, choose_profile, fit, opening, read_opening
from kowalski_jupyter.rlm.course import COURSE, Course
from kowalski_jupyter.rlm.direct import Coming, ask_directly
from kowalski_jupyter.rlm.endpoints import Endpoint, Endpoints
from kowalski_jupyter.rlm.kernels import RunKernels
from kowalski_jupyter.rlm.log import EventLog
from kowalski_jupyter.rlm.loop import Loop
from kowalski_jupyter.rlm.settings import RunSettings
from kowalski_jupyter.rlm.steering import Steering
from kowalski_jupyter.rlm.text import head_and_tail
from kowalski_jupyter.rlm.tree import Resources, Tree

_log = logging.getLogger(__name__)

_QUESTION_CHARS = 4000
"""Of a child run's question in its chat: the whole is in its data, or is not worth a window."""

_BEST_CHARS = 1000
"""Of what a child run had at its limit, for its parent's code."""

_HEARD_SECONDS = 0.003

_BEST_SECONDS = 0.25
"""How long a kernel may take to give what it has: one that is busy within a library's code does not hear at all."""
_DRAFT = (
    'if isinstance(globals().get("answer"), dict) and answer.get("content") is not None: FINAL(answer["content"])\n'
)
_BEST = f"{_DRAFT}FINAL(_)"
"""Gives what a run has when a limit ends it: the draft of its answer, else the last value that it has shown."""


@dataclass(frozen=True, slots=True)
class Parent:
    """The run whose code asked for another one."""

    id: str
    depth: int
    tree: Tree


class Run:
    """A run and its events. The service starts `execute` as a task and cancels that task to stop it.

    Args:
        run_id: names the run.
        question: what the user asked, never interpolated.
        data: the user's variables; with none, and nothing else to reach, the question goes to the model as it is.
        settings: limits and sampling.
        resources: what all runs share.
        log: takes the events.
        memo: replies to sub-calls that are known.
        options: what the user gave for this run alone, for the record.
        schema: a JSON Schema that the answer must fulfil.
        origin: the run that this one continues, branches from or replays.
        model: the id of a child run's root model, or None for the one that the user set.
        parent: the run whose code asks for this one, in whose tree it is.
        course: that of a recorded run, to go through first.

    Attributes:
        answer: the answer, once there is one.
        partial: whether it is only the best that there was when a limit ended the run.
        steering: the user's hand on the run.
        model_lost: whether the model's server was gone, so that a new one should be looked for.
    """

    def __init__(
        self,
        run_id: str,
        question: str,
        data: Sequence[DataItem],
        settings: RunSettings,
        resources: Resources,
        *,
        log: EventLog,
        memo: Memo | None = None,
        options: Mapping[str, Any] | None = None,
        schema: Mapping[str, Any] | None = None,
        origin: str = "",
        model: str | None = None,
        parent: Parent | None = None,
        course: Course | None = None,
    ) -> None:
        self.id = run_id
        self.question = question
        self.data = data
        self.settings = settings
        self.log = log
        self.answer: Value | None = None
        self.partial = False
        self.model_lost = False
        self.depth = 0 if parent is None else parent.depth + 1
        self._options = dict(options or {})
        self._schema = schema
        self._origin = origin
        self._model = model
        self._parent = parent
        self._course = course or Course()
        self._kernels: RunKernels | None = None
        self._loop: Loop | None = None
        self._coming: Coming | None = None
        self._refused: Value | None = None
        self._calls: RunCalls | None = None
        self._work: asyncio.Task[Value] | None = None
        self._reached = ""
        self._emit = log.append
        self._tree = parent.tree if parent else self._new_tree(resources, memo or RunMemo())
        self.steering = Steering(self._emit, self._tree.budget.raise_limits)

    def _new_tree(self, resources: Resources, memo: Memo) -> Tree:
        again = f"%rlm resume {self.id}" if self.has_work else "%%rlm …"
        budget = Budget(self.settings, again, self._stop_work)
        endpoints = Endpoints(resources.open_model, budget, self._tell, resources.open_root)
        return Tree(resources, budget, endpoints, memo, self.settings.seed)

    def _tell(self, text: str) -> None:
        """Say what becomes of a request."""
        self._emit(ev.Notice(text))

    async def execute(self) -> None:
        """Run to the end. Every outcome is a `RunFinished` event; only cancellation and bugs are raised again.

        Returns when the child kernel is gone, which is after that event: nobody has to watch it die.
        """
        budget = self._tree.budget
        COURSE.set(self._course)
        self._emit(self._started())
        if self._parent is None:
            budget.start_clock()
        begun = budget.seconds
        state: Literal["done", "failed", "cancelled"] = "failed"
        error = ""
        try:
            await self._give(await self._until_limit())
            state = "done"
        except asyncio.CancelledError:
            state, error = "cancelled", "The run was cancelled."
            raise
        except LimitReachedError as limit:
            await self._give_best()
            self._reached = limit.which
            error = f"{limit} The best answer so far is kept." if self.partial else str(limit)
        except Exception as failure:
            self.model_lost = isinstance(failure, ModelUnreachableError)
            error = _explain(failure)
            if not isinstance(failure, (ModelError, KernelError, OSError)):
                raise
        finally:
            if self._kernels is not None:
                self._kernels.stop()
            spent = () if self._parent else (budget.spent.prompt_tokens, budget.spent.completion_tokens)
            self._emit(ev.RunFinished(state, error, budget.seconds - begun, *spent))
            if self._parent is None:
                budget.stop_clock()
            if self._calls is not None:
                self._calls.stop()
            if self._kernels is not None:
                await asyncio.shield(self._end_kernels(self._kernels))

    async def _end_kernels(self, kernels: RunKernels) -> None:
        """End the kernels a moment later: that keeps the loop busy, and the run's followers wait for its last event."""
        await asyncio.sleep(_HEARD_SECONDS)
        await kernels.close()

    def _started(self) -> ev.RunStarted:
        return ev.RunStarted(
            self.id,
            self.question,
            "loop" if self.has_work else "direct",
            self._tree.resources.host,
            [{"name": d.name, "type": d.type, "summary": d.summary} for d in self.data],
            self.settings.max_turns,
            self.settings.max_seconds,
            dataclasses.asdict(self.settings),
            self._options,
            "" if self._parent is None else self._parent.id,
            self.depth,
            self._origin,
        )

    @property
    def has_work(self) -> bool:
        """Whether there is something for code to work on. Else the question goes to the model as it is."""
        return bool(self.data) or self.settings.access != CLOSED

    def failure(self) -> str:
        """Return why there is no answer, and the best that there was, in words for the code that asked for this run."""
        if not self._reached:
            finished = self.log.events[-1]
            assert isinstance(finished, ev.RunFinished)  # noqa: S101 - `execute` ends with it
            return finished.error
        best = f" The best it had, unfinished: {head_and_tail(self.answer.text, _BEST_CHARS)}" if self.answer else ""
        return f"No answer: the run reached its limit of {self._reached}. Ask for less, or about a smaller part.{best}"

    # -- the end by a limit ----------------------------------------------------------------------------

    async def _until_limit(self) -> Value:
        """Work until there is an answer; a limit of the whole tree cancels the work of the first run."""
        self._work = asyncio.create_task(self._answer())
        try:
            return await self._work
        except asyncio.CancelledError:
            me = asyncio.current_task()
            reached = self._tree.budget.reached
            if self._parent is None and reached is not None and me is not None and not me.cancelling():
                raise reached from None
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
            raise

    def _stop_work(self) -> None:
        if self._work is not None:
            self._work.cancel()

    async def _give_best(self) -> None:
        """Keep the best answer that there is, without asking any model."""
        if self._kernels is None or self._loop is None or self._calls is None:
            text = self._coming.text if self._coming is not None and self._schema is None else ""
            if (said := text_value(text) if text else self._refused) is not None:
                self.partial = True
                await self._give(said)
            return
        self._calls.stop()
        draft = self._loop.draft
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_BEST_SECONDS):
                await self._kernels.ask_last(_DRAFT if draft else _BEST)
        if self._calls.answer is None and draft is not None:
            with contextlib.suppress(SubcallError):
                await self._calls.final(draft)
        best = self._calls.answer
        if best is None and self._loop.last_output and self._schema is None:
            best = text_value(self._loop.last_output)
        if best is not None:
            self.partial = True
            await self._give(best)

    async def _give(self, answer: Value) -> None:
        await self._tree.resources.keep(self.id, answer)
        self.answer = answer
        self._emit(_answered(answer, partial=self.partial))

    # -- the ways to an answer -------------------------------------------------------------------------

    async def _answer(self) -> Value:
        if self.has_work:
            self._tree.resources.kernels.check()
        endpoint = await self._tree.endpoints.open_root(self._model, lambda *news: self._emit(ev.Progress(*news)))
        self._tree.budget.set_width(endpoint.model.width)
        self._emit(ev.ModelReady(endpoint.model.name, endpoint.model.where))
        if self.has_work:
            return await self._run_loop(endpoint)
        sampling = Sampling(
            max_tokens=self.settings.reply_tokens or self._profile(endpoint).reply_tokens,
            temperature=self.settings.temperature,
            seed=self.settings.seed,
        )
        self._coming = Coming(self._emit)
        return await ask_directly(
            self.question,
            endpoint,
            self._tree.budget,
            sampling,
            schema=self._schema,
            judge=self._judge,
            emit=self._coming.emit,
        )

    async def _judge(self, turn: int, answer: Value) -> str:
        """Return why whoever asked does not take an answer; empty if it is taken, or nobody is there to look at it."""
        if not self.settings.judged or self._schema is None:
            return ""
        with self._tree.budget.paused():
            refusal = await self.steering.offer(turn, answer.data.decode())
        if refusal:
            self._refused = answer
        return refusal

    async def _run_loop(self, endpoint: Endpoint) -> Value:
        settings = self.settings
        functions: tuple[Function, ...] = FUNCTIONS if settings.depth > self.depth else ("helpers",)
        children = settings.depth > self.depth + 1
        calls = self._calls = RunCalls(
            self._tree.endpoints,
            self._tree.budget,
            self._tree.memo,
            self._emit,
            settings,
            course=self._course,
            run=self.id,
            seed=self._tree.seed,
            answer_schema=self._schema,
            start_child=self._run_child if children else None,
        )

        kernels = self._kernels = RunKernels(
            self._tree.resources.kernels,
            self.data,
            calls,
            functions=functions,
            access=settings.access,
            seed=settings.seed,
            emit=self._emit,
            events=self.log.events,
        )
        await kernels.start()
        profile = self._profile(endpoint)
        others = kernels.languages[1:]
        spoken_of = [*(name for name in functions if name != "rlm_query" or children), *others]
        spoken_of += ["languages"] if others else []
        self._loop = Loop(
            self.question,
            self.data,
            settings,
            opening=read_opening(settings.prompt, spoken_of) if settings.prompt else opening(profile.name, spoken_of),
            profile=profile,
            endpoint=endpoint,
            budget=self._tree.budget,
            steering=self.steering,
            kernels=kernels,
            calls=calls,
            judge=self._judge,
            emit=self._emit,
            schema=self._schema,
        )
        return await self._loop.run()

    def _profile(self, endpoint: Endpoint) -> Profile:
        """Return how the root model is spoken to: as the user said, or as its name tells."""
        named = PROFILES.get(self.settings.profile)
        return fit(named, endpoint.window) if named else choose_profile(endpoint.model.name, endpoint.window)

    async def _run_child(self, run_id: str, query: Query, model: str | None, course: Course) -> Value:
        """Answer a query of this run's code by a run of its own.

        A query without a context has its own text for one: code may have put a long text into the question.

        Raises:
            SubcallError: it had no answer, or its context cannot be passed on.
        """
        resources = self._tree.resources
        try:
            item = resources.pack("context", query.context or text_value(query.question))
        except (PackError, ValueError, OSError) as error:
            raise SubcallError(f"No run could be started with this context: {error}") from error
        child = Run(
            run_id,
            head_and_tail(query.question, _QUESTION_CHARS),
            (item,),
            dataclasses.replace(self.settings, seed=self.settings.seed * 100 + self.depth + 1, step=False),
            resources,
            log=resources.new_log(run_id),
            model=model or self._model,
            parent=Parent(self.id, self.depth, self._tree),
            course=course,
        )
        try:
            await child.execute()
        except Exception:  # noqa: BLE001 - a fault of ours, told as that run's end: the others go on
            _log.exception("Run %s ended by a fault of ours", run_id)
        finally:
            resources.discard(item)
            if self._calls is not None:
                self._calls.took(run_id, _told_tokens(child.log.events))
        if child.answer is None or child.partial:
            raise SubcallError(child.failure())
        return child.answer


def _explain(failure: Exception) -> str:
    """Return what the user is told of a failure: what it was and what to do next."""
    if isinstance(failure, (ModelError, KernelError)):
        return str(failure)
    if isinstance(failure, OSError):
        return f"The system refused: {failure}. Free what is short (disk, memory, files) and run again."
    return f"Unexpected {type(failure).__name__}: {failure}. Please report this; the server's log has more."


def _told_tokens(events: Sequence[ev.Event]) -> Usage:
    """Return the tokens that a run's events tell of."""
    told = [event for event in events if isinstance(event, ev.ReplyFinished | ev.SubcallFinished)]
    return Usage(sum(each.prompt_tokens or 0 for each in told), sum(each.completion_tokens or 0 for each in told))


def _answered(value: Value, *, partial: bool) -> ev.Answered:
    """Return the event that tells of an answer: a figure is shown as the picture that it is."""
    rich, _ = rich_of({"image/png": base64.b64encode(value.data).decode()}) if value.kind == "png" else (None, "")
    shown = (rich.mime, rich.data) if rich else ()
    return ev.Answered(value.type, value.text, partial, *shown)
