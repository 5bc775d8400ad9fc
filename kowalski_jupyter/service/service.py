"""The service: starts runs, knows them, ends them. Plain asyncio; knows no Jupyter.

Two hosts own one: the Jupyter server extension, and, where there is no server, a thread of the user's
own kernel (host.py).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

from kowalski_jupyter._version import __version__
from kowalski_jupyter.cluster.catalogue import KnownModel
from kowalski_jupyter.cluster.cluster import Cluster
from kowalski_jupyter.cluster.routing.router import Router
from kowalski_jupyter.kernels.base import DataItem, Kernels, Value
from kowalski_jupyter.kernels.pack import pack
from kowalski_jupyter.kernels.pool import KernelPool
from kowalski_jupyter.kernels.values import decode_answer
from kowalski_jupyter.models.discover import ModelSettings
from kowalski_jupyter.rlm.calls.memo import RunMemo
from kowalski_jupyter.rlm.endpoints import OpenModel
from kowalski_jupyter.rlm.events import Answered, Event, Notice
from kowalski_jupyter.rlm.log import EventLog
from kowalski_jupyter.rlm.replay import CHILD
from kowalski_jupyter.rlm.run import Run
from kowalski_jupyter.rlm.settings import RunSettings
from kowalski_jupyter.rlm.trace import Trace
from kowalski_jupyter.rlm.tree import Resources
from kowalski_jupyter.service.config import Kowalski
from kowalski_jupyter.service.devices import devices_document
from kowalski_jupyter.service.export.jsonl import to_jsonl
from kowalski_jupyter.service.finding import find_model_on
from kowalski_jupyter.service.known import known_models
from kowalski_jupyter.service.listing import listing
from kowalski_jupyter.service.machine import machine_status
from kowalski_jupyter.service.rack import ModelRack
from kowalski_jupyter.service.request import BadRequestError, RunRequest
from kowalski_jupyter.service.rerun.plans import Plan, plan_replay, plan_resume
from kowalski_jupyter.service.rerun.rerun import Past, Replay
from kowalski_jupyter.service.runs import LiveRun, ToldRun, end_of_interrupted, from_store
from kowalski_jupyter.service.store.store import Recorded, RunStore

__all__ = ["LiveRun", "Service", "UnknownRunError"]

_log = logging.getLogger(__name__)
_RUNS_KEPT = 100
_TAIL_SECONDS = 0.5

Listener = Callable[[Run, Event], None]


class UnknownRunError(LookupError):
    """There is no run of that id."""


class Service:
    """All runs of one host. Belongs to one event loop.

    Args:
        config: the user's settings.
        host: what owns this service, in words: ``jupyter server`` or ``this kernel``.
        kernels: where child kernels come from; by default a pool of its own.
        models: where chat models come from; by default a rack of its own.
        cluster: the user's devices; by default those of the settings.
    """

    def __init__(
        self,
        config: Kowalski,
        *,
        host: str,
        kernels: Kernels | None = None,
        models: ModelRack | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        self.config = config
        self.host = host
        self.data_root = Path(config.data_root)
        self.runs: dict[str, LiveRun] = {}
        self._kernels = kernels or KernelPool(
            self.data_root,
            limits=config.limits(),
            spares=config.spares,
            unsandboxed=config.unsandboxed,
            chosen=config.kernels,
        )
        self.cluster = cluster or config.open_cluster()
        self.router = Router(
            self.cluster, config.routing_weights, hedges=config.hedging, adds_replicas=config.add_replicas
        )
        self._models = models or ModelRack(partial(find_model_on, self.router))
        self._store = RunStore(config.store, room=config.room(), tell=_tell)
        self._replays: dict[str, Replay] = {}
        self._tails: set[asyncio.Task[None]] = set()
        self._watchers: set[Callable[[], None]] = set()
        self.cluster.watch(self._changed)

    async def warm_up(self) -> None:
        """Have a child kernel started in the background: a client has come, and a run will follow."""
        await self._kernels.start()

    # -- starting --------------------------------------------------------------------------------------

    def start_run(self, request: RunRequest) -> LiveRun:
        """Start a run and return at once; its events tell the rest.

        Raises:
            BadRequestError: an option has no meaning here.
        """
        models = self._model_settings(request.options)
        return self._start(
            request.question,
            request.data,
            self.config.run_settings(request.options),
            request.options,
            models,
            open_model=self._models.opener(models),
            known=self._known_elsewhere(request.options),
        )

    def resume(
        self,
        run_id: str,
        data: Sequence[DataItem],
        *,
        turn: int | None = None,
        reply: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> LiveRun:
        """Go on with a run that was broken off, or branch from any, as a run of its own.

        The code of its turns is run again, in a fresh kernel, on replies as they were recorded. Then the model goes on.

        Args:
            run_id: names the run.
            data: the variables that it was about; they are not kept with it.
            turn: go on from this turn, and not from the first that has no reply.
            reply: what the model said in that turn, instead.
            options: in the place of the recorded run's own.

        Raises:
            UnknownRunError: there is none of that id.
            BadRequestError: it cannot go on; the message says why and what can be done.
        """
        with _refusing(data):
            plan = plan_resume(self._past(run_id), data, self.config, turn=turn, reply=reply, options=options or {})
        models = self._model_settings(plan.options)
        real = self._models.opener(models)
        return self._rerun(plan, models, open_model=real, open_root=plan.root_opener(real))

    def replay(self, run_id: str, data: Sequence[DataItem]) -> LiveRun:
        """Go through a run again, as a run of its own that asks no model. Raises like `resume`."""
        with _refusing(data):
            plan = plan_replay(self._past(run_id), data, self.find(run_id).answer)
        models = self._model_settings(plan.options)
        live = self._rerun(plan, models, open_model=plan.silent_opener(), open_root=plan.root_opener(None))
        assert isinstance(plan.rerun, Replay)  # noqa: S101 (what `plan_replay` makes)
        self._replays[live.id] = plan.rerun
        return live

    def replay_report(self, run_id: str) -> dict[str, Any]:
        """Return what was the same in a replay and what was not (`Replay.report`).

        Raises:
            UnknownRunError: no replay of that id was started here.
        """
        if run_id not in self._replays:
            raise UnknownRunError(f"{run_id!r} is no replay of this service. `%rlm replay ID` starts one.")
        return self._replays[run_id].report()

    def _rerun(self, plan: Plan, models: ModelSettings, *, open_model: OpenModel, open_root: OpenModel) -> LiveRun:
        started = plan.past.record.started
        return self._start(
            started.question,
            plan.data,
            plan.settings,
            plan.options,
            models,
            open_model=open_model,
            known=ChainMap(plan.past.known, cast("dict[str, str]", self._known_elsewhere(plan.options))),
            origin=started.run,
            open_root=open_root,
            listener=plan.rerun.note,
        )

    def _start(
        self,
        question: str,
        data: Sequence[DataItem],
        settings: RunSettings,
        options: Mapping[str, Any],
        models: ModelSettings,
        *,
        open_model: OpenModel,
        known: Mapping[str, str],
        origin: str = "",
        open_root: OpenModel | None = None,
        listener: Listener = lambda *_: None,
    ) -> LiveRun:
        run_id = f"r-{secrets.token_hex(3)}"
        resources = Resources(
            open_model, self._kernels, self.host, partial(self._new_child, run_id), self._pack, _discard, open_root
        )
        live = self._new_live(run_id, listener)
        live.run = Run(
            run_id,
            question,
            data,
            settings,
            resources,
            log=live.log,
            memo=RunMemo(known),
            options=options,
            schema=options.get("schema"),
            origin=origin,
        )
        live.task = asyncio.create_task(self._execute(live, models), name=run_id)
        self._drop_old_runs()
        return live

    def _new_live(self, run_id: str, listener: Listener = lambda *_: None) -> LiveRun:
        """Begin to keep a run: what is appended to its log is stored and shown."""

        def listen(event: Event) -> None:
            live.trace.apply(event)
            self._store.note(live, event)
            self._changed()
            if isinstance(live.run, Run):
                listener(live.run, event)

        live = self.runs[run_id] = LiveRun(ToldRun(run_id, EventLog(listen)), Trace())
        return live

    def _new_child(self, root: str, run_id: str) -> EventLog:
        """Begin to keep a child run; the task that calls this is the one that goes through it."""
        CHILD.set(run_id.removeprefix(root))
        return self._new_live(run_id).log

    def _known_elsewhere(self, options: Mapping[str, Any]) -> Mapping[str, str]:
        """Return what other runs' sub-calls were answered, if the user wants that to count."""
        return self._store.replies if options.get("reuse", self.config.reuse) else {}

    def _model_settings(self, options: Mapping[str, Any]) -> ModelSettings:
        return ModelSettings(
            url=options.get("url") or self.config.url or None,
            model=options.get("model") or self.config.model or None,
            embedded=self.config.embedded,
        )

    # -- looking ---------------------------------------------------------------------------------------

    def find(self, run_id: str) -> LiveRun:
        """Return a run: of this service, or one that is stored.

        Raises:
            UnknownRunError: there is none of that id.
        """
        if run_id not in self.runs:
            events = self._store.events(run_id)
            if not events:
                raise UnknownRunError(f"There is no run {run_id!r} here. `%rlm runs` lists those there are.")
            live = from_store(run_id, events, self._store.answer(run_id))
            if self._end_if_interrupted(live):
                self._tails.add(asyncio.create_task(self._tail(live), name=f"tail of {run_id}"))
            self.runs = {run_id: live, **self.runs}  # the oldest, and so the first to be forgotten
            self._drop_old_runs()
            return live
        return self.runs[run_id]

    def _end_if_interrupted(self, live: LiveRun) -> bool:
        """Give a stored run the end that it lacks if its process is gone; return whether it goes on elsewhere."""
        stored = self._store.run(live.id)
        going_on = stored is not None and stored.going_on
        if not live.log.finished and not going_on:
            live.log.take(end_of_interrupted(live.id, live.log.events))
        return not live.log.finished

    async def _tail(self, live: LiveRun) -> None:
        """Follow a run that another process is writing."""
        while self._end_if_interrupted(live):
            await asyncio.sleep(_TAIL_SECONDS)
            for event in self._store.events(live.id)[len(live.log.events) :]:
                live.log.take(event)
                if isinstance(event, Answered):
                    live.run.answer = self._store.answer(live.id)
            self._changed()

    def record(self, run_id: str) -> list[Event]:
        """Return the events of a run so far. Raises `UnknownRunError`."""
        return list(self.find(run_id).log.events)

    def export(self, run_id: str, form: Literal["notebook", "jsonl"]) -> bytes:
        """Return a run as a file of that form. Raises `UnknownRunError`."""
        from kowalski_jupyter.service.export.notebook import to_notebook  # noqa: PLC0415 (slow, and seldom used)

        events = self.record(run_id)
        return to_notebook(events) if form == "notebook" else to_jsonl(events)

    def status(self) -> dict[str, Any]:
        """Return runs, model, machine and devices (docs/run-format.md, `IStatus`)."""
        return {
            "version": __version__,
            "runs": listing(self.runs.values(), self._store.runs(_RUNS_KEPT))[:_RUNS_KEPT],
            "model": self._models.status(),
            "machine": machine_status(),
            **devices_document(self.cluster.snapshot),
        }

    async def known_models(self) -> list[KnownModel]:
        """Return all models that there are, at every place where a run might look."""
        return await known_models(self.cluster, self._model_settings({}))

    @property
    def busy(self) -> bool:
        """Whether a run is going on."""
        return any(live.task is not None and not live.log.finished for live in self.runs.values())

    def watch(self, watcher: Callable[[], None]) -> Callable[[], None]:
        """Have `watcher` called at every change, until the function that this returns is called."""
        self._watchers.add(watcher)
        return lambda: self._watchers.discard(watcher)

    def _changed(self) -> None:
        for watcher in list(self._watchers):
            watcher()

    def _past(self, run_id: str) -> Past:
        live = self.find(run_id)
        if not live.log.finished:
            raise BadRequestError(f"Run {run_id} is still going on. `%rlm cancel {run_id}` stops it.")
        try:
            return Past.of(run_id, self._events_of)
        except ValueError as error:
            raise BadRequestError(str(error)) from None

    def _events_of(self, run_id: str) -> Sequence[Event]:
        try:
            return self.find(run_id).log.events
        except UnknownRunError:
            return ()

    # -- ending ----------------------------------------------------------------------------------------

    async def cancel(self, run_id: str) -> None:
        """Stop a run and return when its last event is there. A run that has ended is left as it is."""
        live = self.find(run_id)
        if live.task is None and not live.log.finished:
            raise BadRequestError(f"Run {run_id} belongs to another process: stop it there.")
        live.cancel()
        async for _ in live.log.follow(len(live.log.events)):
            pass

    async def close(self) -> None:
        """Cancel all runs, and return when no kernel, model or file of theirs is left."""
        tasks = [*self._tails, *(live.task for live in self.runs.values() if live.task is not None)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._kernels.close()
        await self._models.close()
        await self.router.close()
        await self.cluster.close()
        await self._store.close()

    async def _execute(self, live: LiveRun, models: ModelSettings) -> None:
        assert isinstance(live.run, Run)  # noqa: S101 (only those have a task)
        try:
            with self.cluster.looking():
                await live.run.execute()
        except asyncio.CancelledError:
            raise
        except Exception:  # noqa: BLE001 (already told as the run's end; the log gets the rest)
            _log.exception("Run %s ended by a fault of ours", live.id)
        finally:
            if live.run.model_lost:
                await self._models.forget(models)
            for item in live.run.data:
                _discard(item)

    def _pack(self, name: str, value: Value) -> DataItem:
        """Make data for a child run's kernel out of a value from its parent's."""
        folder = self.data_root / f"pack-{secrets.token_hex(8)}"
        folder.mkdir(mode=0o700, parents=True)
        return pack(name, decode_answer(value.kind, value.data), folder)

    def _drop_old_runs(self) -> None:
        """Forget the oldest runs that have ended, beyond the number the panel shows; the store has them."""
        ended = [run_id for run_id, live in self.runs.items() if live.log.finished]
        for run_id in ended[: max(0, len(self.runs) - _RUNS_KEPT)]:
            del self.runs[run_id]
            self._replays.pop(run_id, None)


def _tell(run: Recorded, text: str) -> None:
    """Say in a run that it is not stored, after what is being written now."""

    def tell() -> None:
        if not run.log.finished:
            run.log.append(Notice(text))

    asyncio.get_running_loop().call_soon(tell)


@contextmanager
def _refusing(data: Sequence[DataItem]) -> Iterator[None]:
    """Remove the data that came with a request that is refused."""
    try:
        yield
    except (BadRequestError, UnknownRunError):
        for item in data:
            _discard(item)
        raise


def _discard(item: DataItem) -> None:
    """Remove the file of a run's data; a path of the user's own has none."""
    if item.path is not None:
        shutil.rmtree(item.path.parent, ignore_errors=True)
