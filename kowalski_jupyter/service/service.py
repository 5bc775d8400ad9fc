"""The service: starts runs, knows them, ends them. Plain asyncio; knows no Jupyter.

Two hosts own one: the Jupyter server extension, and, where there is no server, a thread of the user's
own kernel (host.py).
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kowalski_jupyter._version import __version__
from kowalski_jupyter.kernels.base import DataItem, Kernels, Value
from kowalski_jupyter.kernels.pack import pack
from kowalski_jupyter.kernels.pool import KernelPool
from kowalski_jupyter.kernels.values import decode_answer
from kowalski_jupyter.models.base import ChatModel, Report
from kowalski_jupyter.models.discover import ModelSettings
from kowalski_jupyter.rlm.events import Event
from kowalski_jupyter.rlm.log import EventLog
from kowalski_jupyter.rlm.run import Run
from kowalski_jupyter.rlm.text import one_line
from kowalski_jupyter.rlm.trace import Trace
from kowalski_jupyter.rlm.tree import Resources
from kowalski_jupyter.service.config import Kowalski
from kowalski_jupyter.service.machine import machine_status
from kowalski_jupyter.service.rack import ModelRack
from kowalski_jupyter.service.request import RunRequest

_log = logging.getLogger(__name__)
_RUNS_KEPT = 100


class UnknownRunError(LookupError):
    """There is no run of that id."""


class LiveRun:
    """A run, its task and its trace, as the service holds them."""

    def __init__(self, run: Run, trace: Trace) -> None:
        self.run = run
        self.trace = trace
        self.task: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        """Stop the run if it is still going on; returns at once."""
        if self.task is not None and not self.run.log.finished:
            self.task.cancel()

    def summary(self) -> dict[str, Any]:
        """Return the run as one row of the panel's list (docs/run-format.md, `IRunSummary`)."""
        document = self.trace.head()
        answer = document["answer"]
        return {
            "id": self.run.id,
            "question": one_line(self.run.question, 200),
            "state": document["state"],
            "error": document["error"],
            "model": document["model"] and document["model"]["name"],
            "turn": document["usage"]["turns"],
            "max_turns": document["limits"]["turns"],
            "subcalls": document["usage"]["subcalls"],
            "started": document["started"],
            "seconds": document["seconds"],
            "answer": answer and one_line(answer["text"], 200),
        }


class Service:
    """All runs of one host. Belongs to one event loop.

    Args:
        config: the user's settings.
        host: what owns this service, in words: ``jupyter server`` or ``this kernel``.
        kernels: where child kernels come from; by default a pool of its own.
        models: where chat models come from; by default a rack of its own.
    """

    def __init__(
        self, config: Kowalski, *, host: str, kernels: Kernels | None = None, models: ModelRack | None = None
    ) -> None:
        self.config = config
        self.host = host
        self.data_root = Path(config.data_root)
        self.runs: dict[str, LiveRun] = {}
        self._kernels = kernels or KernelPool(
            self.data_root, limits=config.limits(), spares=config.spares, unsandboxed=config.unsandboxed
        )
        self._models = models or ModelRack()
        self._watchers: set[Callable[[], None]] = set()

    async def warm_up(self) -> None:
        """Have a child kernel started in the background: a client has come, and a run will follow."""
        await self._kernels.start()

    def start_run(self, request: RunRequest) -> LiveRun:
        """Start a run and return at once; its events tell the rest."""
        run_id = f"r-{secrets.token_hex(3)}"
        trace = Trace()

        def listen(event: Event) -> None:
            trace.apply(event)
            for watcher in list(self._watchers):
                watcher()

        settings = ModelSettings(
            url=request.options.get("url") or self.config.url or None,
            model=request.options.get("model") or self.config.model or None,
            embedded=self.config.embedded,
        )

        async def open_model(name: str | None, report: Report) -> ChatModel:
            wanted = settings if name is None else dataclasses.replace(settings, model=name)
            return await self._models.open(wanted, report)

        run = Run(
            run_id,
            request.question,
            request.data,
            self.config.run_settings(request.options),
            Resources(
                open_model,
                self._kernels,
                self.host,
                new_log=lambda _: EventLog(),
                pack=self._pack,
                discard=_discard,
            ),
            log=EventLog(listen),
            options=request.options,
            schema=request.options.get("schema"),
        )
        live = LiveRun(run, trace)
        self.runs[run_id] = live
        live.task = asyncio.create_task(self._execute(live, settings), name=run_id)
        self._drop_old_runs()
        return live

    def find(self, run_id: str) -> LiveRun:
        """Return a run.

        Raises:
            UnknownRunError: there is none of that id.
        """
        try:
            return self.runs[run_id]
        except KeyError:
            raise UnknownRunError(f"There is no run {run_id!r} here. `%rlm runs` lists those there are.") from None

    async def cancel(self, run_id: str) -> None:
        """Stop a run and return when its last event is there. A run that has ended is left as it is."""
        live = self.find(run_id)
        live.cancel()
        async for _ in live.run.log.follow(len(live.run.log.events)):
            pass

    def watch(self, watcher: Callable[[], None]) -> Callable[[], None]:
        """Have `watcher` called at every change, until the function that this returns is called."""
        self._watchers.add(watcher)
        return lambda: self._watchers.discard(watcher)

    def status(self) -> dict[str, Any]:
        """Return runs, model and machine (docs/run-format.md, `IStatus`)."""
        return {
            "version": __version__,
            "runs": [live.summary() for live in reversed(self.runs.values())],
            "model": self._models.status(),
            "machine": machine_status(),
        }

    @property
    def busy(self) -> bool:
        """Whether a run is going on."""
        return any(not live.run.log.finished for live in self.runs.values())

    async def close(self) -> None:
        """Cancel all runs, and return when no kernel, model or file of theirs is left."""
        tasks = [live.task for live in self.runs.values() if live.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._kernels.close()
        await self._models.close()

    async def _execute(self, live: LiveRun, settings: ModelSettings) -> None:
        try:
            await live.run.execute()
        except asyncio.CancelledError:
            raise
        except Exception:  # noqa: BLE001 (already told as the run's end; the log gets the rest)
            _log.exception("Run %s ended by a fault of ours", live.run.id)
        finally:
            if live.run.model_lost:
                await self._models.forget(settings)
            for item in live.run.data:
                _discard(item)

    def _pack(self, name: str, value: Value) -> DataItem:
        """Make data for a child run's kernel out of a value from its parent's."""
        folder = self.data_root / f"pack-{secrets.token_hex(8)}"
        folder.mkdir(mode=0o700, parents=True)
        return pack(name, decode_answer(value.kind, value.data), folder)

    def _drop_old_runs(self) -> None:
        """Forget the oldest runs that have ended, beyond the number the panel shows."""
        ended = [run_id for run_id, live in self.runs.items() if live.run.log.finished]
        for run_id in ended[: max(0, len(self.runs) - _RUNS_KEPT)]:
            del self.runs[run_id]


def _discard(item: DataItem) -> None:
    """Remove the file of a run's data; a path of the user's own has none."""
    if item.path is not None:
        shutil.rmtree(item.path.parent, ignore_errors=True)
