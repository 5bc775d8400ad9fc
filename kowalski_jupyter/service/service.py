"""The service: starts runs, knows them, ends them. Plain asyncio; knows no Jupyter.

Two hosts own one: the Jupyter server extension, and, where there is no server, a thread of the user's
own kernel (host.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from kowalski_jupyter._version import __version__
from kowalski_jupyter.cluster.catalogue import KnownModel
from kowalski_jupyter.cluster.cluster import Cluster
from kowalski_jupyter.cluster.routing.router import Router
from kowalski_jupyter.kernels.base import Kernels
from kowalski_jupyter.kernels.pool import KernelPool
from kowalski_jupyter.rlm.events import Event
from kowalski_jupyter.service.book import RunBook, UnknownRunError, say_in
from kowalski_jupyter.service.config import Kowalski
from kowalski_jupyter.service.devices import devices_document
from kowalski_jupyter.service.export.jsonl import to_jsonl
from kowalski_jupyter.service.finding import find_model_on
from kowalski_jupyter.service.known import known_models
from kowalski_jupyter.service.machine import machine_status
from kowalski_jupyter.service.rack import ModelRack
from kowalski_jupyter.service.request import BadRequestError
from kowalski_jupyter.service.runs import LiveRun
from kowalski_jupyter.service.starting import Starting
from kowalski_jupyter.service.store.store import RunStore

__all__ = ["LiveRun", "Service", "UnknownRunError"]


class Service(Starting):
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
        kernels = kernels or KernelPool(
            Path(config.data_root),
            limits=config.limits(),
            spares=config.spares,
            unsandboxed=config.unsandboxed,
            chosen=config.kernels,
        )
        cluster = cluster or config.open_cluster()
        self.router = Router(cluster, config.routing_weights, hedges=config.hedging, adds_replicas=config.add_replicas)
        super().__init__(
            config,
            host=host,
            kernels=kernels,
            models=models or ModelRack(partial(find_model_on, self.router)),
            cluster=cluster,
            book=RunBook(RunStore(config.store, room=config.room(), tell=say_in), self._changed),
        )
        self._watchers: set[Callable[[], None]] = set()
        self.cluster.watch(self._changed)

    async def warm_up(self) -> None:
        """Have a child kernel started in the background: a client has come, and a run will follow."""
        await self._kernels.start()

    # -- looking ---------------------------------------------------------------------------------------

    @property
    def runs(self) -> Mapping[str, LiveRun]:
        """The runs that are at hand, the oldest first."""
        return self._book.runs

    def find(self, run_id: str) -> LiveRun:
        """Return a run, of this service or a stored one. Raises `UnknownRunError`."""
        return self._book.find(run_id)

    def record(self, run_id: str) -> list[Event]:
        """Return the events of a run so far. Raises `UnknownRunError`."""
        return list(self.find(run_id).log.events)

    def export(self, run_id: str, form: Literal["notebook", "jsonl"]) -> bytes:
        """Return a run as a file of that form. Raises `UnknownRunError`."""
        from kowalski_jupyter.service.export.notebook import to_notebook  # noqa: PLC0415 (slow, and seldom used)

        events = self.record(run_id)
        return to_notebook(events, self._book.answer) if form == "notebook" else to_jsonl(events)

    def status(self) -> dict[str, Any]:
        """Return runs, model, machine and devices (docs/run-format.md, `IStatus`)."""
        return {
            "version": __version__,
            "runs": self._book.rows(),
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

    # -- ending ----------------------------------------------------------------------------------------

    async def cancel(self, run_id: str) -> None:
        """Stop a run and return when its last event is there. A run that has ended is left as it is."""
        live = self.find(run_id)
        if live.out_of_hand:
            raise BadRequestError(live.out_of_hand)
        live.cancel()
        async for _ in live.log.follow(len(live.log.events)):
            pass

    async def close(self) -> None:
        """Cancel all runs, and return when no kernel, model or file of theirs is left."""
        await self._book.stop()
        await self._kernels.close()
        await self._models.close()
        await self.router.close()
        await self.cluster.close()
        await self._book.store.close()
