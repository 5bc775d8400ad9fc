"""How runs are started: new ones, and those that go through a recorded one again."""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from kowalski_jupyter.cluster.cluster import Cluster
from kowalski_jupyter.kernels.base import DataItem, Kernels, Value
from kowalski_jupyter.kernels.pack import pack
from kowalski_jupyter.kernels.values import decode_answer
from kowalski_jupyter.models.discover import ModelSettings
from kowalski_jupyter.rlm.calls.memo import RunMemo
from kowalski_jupyter.rlm.course import Course
from kowalski_jupyter.rlm.endpoints import OpenModel
from kowalski_jupyter.rlm.log import EventLog
from kowalski_jupyter.rlm.run import Run
from kowalski_jupyter.rlm.settings import RunSettings
from kowalski_jupyter.rlm.tree import Resources
from kowalski_jupyter.service.book import Listener, RunBook, UnknownRunError
from kowalski_jupyter.service.config import Kowalski
from kowalski_jupyter.service.rack import ModelRack
from kowalski_jupyter.service.request import BadRequestError, RunRequest
from kowalski_jupyter.service.rerun.plans import Plan, plan_replay, plan_resume
from kowalski_jupyter.service.rerun.rerun import Past, Replay
from kowalski_jupyter.service.runs import LiveRun

_log = logging.getLogger(__name__)


class Starting:
    """Starts runs, and sees them to their end. Belongs to one event loop.

    Args:
        config: the user's settings.
        host: what owns the service, in words.
        kernels: where child kernels come from.
        models: where chat models come from.
        cluster: the user's devices, watched closely while a run goes on.
        book: keeps the runs.
    """

    def __init__(
        self, config: Kowalski, *, host: str, kernels: Kernels, models: ModelRack, cluster: Cluster, book: RunBook
    ) -> None:
        self.config = config
        self.host = host
        self.data_root = Path(config.data_root)
        self.cluster = cluster
        self._kernels = kernels
        self._models = models
        self._book = book
        self._replays: dict[str, Replay] = {}

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
            plan = plan_replay(self._past(run_id), data, self._book.find(run_id).answer)
        models = self._model_settings(plan.options)
        live = self._rerun(plan, models, open_model=plan.silent_opener(), open_root=plan.root_opener(None))
        assert isinstance(plan.rerun, Replay)  # noqa: S101 (what `plan_replay` makes)
        self._replays = {run: each for run, each in self._replays.items() if run in self._book.runs}
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
            known=ChainMap(plan.past.course.known(), cast("dict[str, str]", self._known_elsewhere(plan.options))),
            origin=started.run,
            open_root=open_root,
            listener=plan.rerun.note,
            course=plan.past.course,
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
        course: Course | None = None,
    ) -> LiveRun:
        run_id = f"r-{secrets.token_hex(3)}"
        resources = Resources(
            open_model,
            self._kernels,
            self.host,
            self._new_child,
            self._pack,
            _discard,
            self._book.keep,
            open_root,
        )
        live = self._book.begin(run_id, listener)
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
            course=course,
        )
        live.task = asyncio.create_task(self._execute(live, models), name=run_id)
        self._book.drop_old()
        return live

    def _new_child(self, run_id: str) -> EventLog:
        """Begin to keep a child run."""
        return self._book.begin(run_id).log

    def _known_elsewhere(self, options: Mapping[str, Any]) -> Mapping[str, str]:
        """Return what other runs' sub-calls were answered, if the user wants that to count."""
        return self._book.store.replies if options.get("reuse", self.config.reuse) else {}

    def _model_settings(self, options: Mapping[str, Any]) -> ModelSettings:
        return ModelSettings(
            url=options.get("url") or self.config.url or None,
            model=options.get("model") or self.config.model or None,
            embedded=self.config.embedded,
        )

    def _past(self, run_id: str) -> Past:
        live = self._book.find(run_id)
        if not live.log.finished:
            raise BadRequestError(
                live.out_of_hand or f"Run {run_id} is still going on. `%rlm cancel {run_id}` stops it."
            )
        try:
            return Past.of(run_id, self._book.events)
        except ValueError as error:
            raise BadRequestError(str(error)) from None

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
        live = decode_answer(value.kind, value.data)
        folder = self.data_root / f"pack-{secrets.token_hex(8)}"
        folder.mkdir(mode=0o700, parents=True)
        try:
            return pack(name, live, folder)
        except BaseException:
            folder.rmdir()  # `pack` leaves nothing in it
            raise


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
