"""Models on the user's devices: what there is, and getting one loaded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from kowalski_jupyter.cluster.catalogue import KnownModel, full_id, read_catalogue
from kowalski_jupyter.cluster.exo.client import ExoClient
from kowalski_jupyter.cluster.exo.views import Instance
from kowalski_jupyter.cluster.health import device_name, exo_on
from kowalski_jupyter.cluster.loading import NewMasterError, wait_until_ready
from kowalski_jupyter.cluster.placement import Spread, choose
from kowalski_jupyter.cluster.snapshot import InstanceHealth, Snapshot
from kowalski_jupyter.models.base import ModelError, ModelRefusedError, ModelUnreachableError, Report

if TYPE_CHECKING:
    from kowalski_jupyter.cluster.cluster import Cluster

_CATALOGUE_SECONDS: Final = 60.0
"""How long the ids of the catalogue are taken to be the same."""

_SETTLING_SECONDS: Final = 30.0
_SETTLING_PAUSE: Final = 0.5

_NONE: Final = (
    "No exo cluster was found. Start exo on a device (`uv run exo`), or set c.Kowalski.devices to its address."
)


class ClusterModels:
    """The models of all clusters. Belongs to one event loop.

    Args:
        cluster: under watch.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._ensuring: dict[tuple[str, str], _Ensuring] = {}
        self._ids: dict[str, tuple[float, list[str]]] = {}

    async def catalogue(self) -> list[KnownModel]:
        """Return what the clusters know, one after the other; those that do not answer are passed over."""
        snapshot = await self._cluster.look()
        found = await asyncio.gather(
            *(self._catalogue(snapshot, *each) for each in snapshot.answering(None).items()), return_exceptions=True
        )
        for each in found:
            if isinstance(each, BaseException) and not isinstance(each, ModelError):
                raise each
        return [model for each in found if not isinstance(each, BaseException) for model in each]

    async def _catalogue(self, snapshot: Snapshot, key: str, url: str) -> list[KnownModel]:
        entries, downloaded = await asyncio.gather(self._exo.models(url), self._exo.models(url, downloaded=True))
        instances = [each.instance for each in snapshot.instances.values() if each.cluster == key]
        devices = [health.device for health in snapshot.members(key)]
        return read_catalogue(entries, downloaded, instances, devices, exo_on(devices))

    async def known_as(self, model: str, cluster: str) -> str | None:
        """Return the id under which a cluster knows a model, given by it or by its last part; None if it does not."""
        health = self._cluster.snapshot.clusters.get(cluster)
        try:
            return full_id(model, await self._known(health.url) if health is not None and health.url else [])
        except ModelError:
            return None

    async def load(
        self,
        model: str,
        report: Report,
        *,
        spread: Spread = "auto",
        min_nodes: int = 1,
        cluster: str | None = None,
        avoid: frozenset[str] = frozenset(),
        seen: Snapshot | None = None,
    ) -> InstanceHealth:
        """Place one more instance of a model, and return it when it is ready.

        Args:
            model: its id, or what stands behind the slash in it.
            report: told how far it is.
            spread: how it is spread over devices.
            min_nodes: devices at least.
            cluster: key of the cluster; None for the first that can.
            avoid: ids of devices that are left out if that is possible.
            seen: what is there, if that was looked at just now.

        Raises:
            ModelError: it cannot be placed, or failed while it was loaded; the text says why.
        """
        snapshot = seen or await self._cluster.look()
        refused: ModelError = ModelUnreachableError(_NONE)
        for key, url in snapshot.answering(cluster).items():
            try:
                name = full_id(model, await self._known(url))
                chosen = choose(await self._exo.previews(url, name), name, spread, min_nodes, avoid)
            except ModelError as error:
                refused = error
                continue
            where = _on(chosen.instance, snapshot)
            report(f"loading {name} {where}", None, None)
            await self._exo.create(url, chosen.body)
            return await wait_until_ready(self._cluster, key, chosen.instance, report, where)
        raise refused

    async def unload(self, what: str) -> list[str]:
        """Remove an instance, or all those of a model, and return their ids when they are gone.

        Raises:
            ModelError: there is nothing of that name, or the cluster does not answer.
        """
        snapshot = await self._cluster.look()
        meant = [
            each
            for key, each in snapshot.instances.items()
            if what in {key, each.instance.model, each.instance.model.rpartition("/")[2]}
        ]
        if not meant:
            loaded = sorted({each.instance.model for each in snapshot.instances.values()})
            known = f"Loaded are: {', '.join(loaded)}." if loaded else "Nothing is loaded."
            raise ModelRefusedError(f"{what} is not loaded. {known}")
        for each in meant:
            url = snapshot.clusters[each.cluster].url
            if url is None:
                raise ModelUnreachableError(f"No device of the cluster that has {what} answers.")
            await self._exo.delete(url, each.instance.id)
        ids = [each.instance.id for each in meant]
        await self._gone(ids)
        return ids

    async def ensure(self, model: str, report: Report, *, cluster: str | None = None) -> InstanceHealth:
        """Return an instance of a model that is ready; if there is none, wait for one, or say so and place one.

        What a run calls before it asks, and again after a master has changed. Calls for the same model that come
        while it is loaded wait for the same instance. Raises like `load`.
        """
        key = (cluster or "", model)
        ensuring = self._ensuring.get(key)
        if ensuring is None or ensuring.task.done():
            ensuring = self._ensuring[key] = _Ensuring(lambda say: self._ensure(model, say, cluster))
        return await ensuring.wait(report)

    async def close(self) -> None:
        """Stop waiting for what is being loaded."""
        tasks = [ensuring.task for ensuring in self._ensuring.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def _exo(self) -> ExoClient:
        return self._cluster.exo

    async def _ensure(self, model: str, report: Report, cluster: str | None) -> InstanceHealth:
        while True:
            try:
                return await self._one_of(model, report, cluster)
            except NewMasterError:
                continue
            except ModelRefusedError:
                # A new master does not know its nodes' memory and ways to each other at once.
                if not self._settling(cluster):
                    raise
                await asyncio.sleep(_SETTLING_PAUSE)

    async def _one_of(self, model: str, report: Report, cluster: str | None) -> InstanceHealth:
        snapshot = await self._cluster.look()
        there = [each for each in snapshot.of_model(model, ready=False) if cluster in {None, each.cluster}]
        ready = [each for each in there if each.ready]
        if ready:
            return min(ready, key=lambda each: each.in_flight)
        if there and not any(snapshot.urls(each.cluster) for each in there):
            raise ModelUnreachableError(f"No device of the cluster that has {model} answers.")
        coming = next((each for each in there if not each.instance.failed and _alive(each, snapshot)), None)
        if coming is None:
            report(f"{model} is not loaded: exo is asked to load it", None, None)
            return await self.load(model, report, cluster=cluster, seen=snapshot)
        report(f"{model} is still being loaded", None, None)
        where = _on(coming.instance, snapshot)
        return await wait_until_ready(self._cluster, coming.cluster, coming.instance, report, where)

    def _settling(self, cluster: str | None) -> bool:
        """Tell whether a master is so new that what it refuses now it may do in some seconds."""
        clusters = self._cluster.snapshot.clusters
        newest = max(
            (each.since for key, each in clusters.items() if each.session and cluster in {None, key}), default=0.0
        )
        return time.time() - newest < _SETTLING_SECONDS

    async def _known(self, url: str) -> list[str]:
        """Return the ids of the catalogue, asked for at most once a minute."""
        asked, ids = self._ids.get(url, (0.0, []))
        if not ids or time.monotonic() - asked > _CATALOGUE_SECONDS:
            ids = [entry["id"] for entry in await self._exo.models(url)]
            self._ids[url] = (time.monotonic(), ids)
        return ids

    async def _gone(self, ids: list[str], patience: float = 10.0) -> None:
        """Wait until instances are gone: exo says 200 before it does anything."""
        deadline = time.monotonic() + patience
        while not (await self._cluster.look()).instances.keys().isdisjoint(ids):
            if time.monotonic() > deadline:
                raise ModelRefusedError("exo took the command, and the model is still there. Try again in a minute.")
            await asyncio.sleep(0.2)


class _Ensuring:
    """A model on its way, and all who wait for it."""

    def __init__(self, ensure: Callable[[Report], Awaitable[InstanceHealth]]) -> None:
        self._reports: list[Report] = []
        self.task = asyncio.ensure_future(ensure(self._report))

    async def wait(self, report: Report) -> InstanceHealth:
        self._reports.append(report)
        try:
            return await asyncio.shield(self.task)
        finally:
            self._reports.remove(report)

    def _report(self, text: str, done: int | None, total: int | None) -> None:
        for report in list(self._reports):
            report(text, done, total)


def _alive(health: InstanceHealth, snapshot: Snapshot) -> bool:
    """Tell whether all devices of an instance are there, so that it may become ready."""
    devices = [snapshot.devices.get(node) for node in health.instance.nodes]
    return all(device is not None and device.condition != "lost" for device in devices)


def _on(instance: Instance, snapshot: Snapshot) -> str:
    """Say which devices an instance is on."""
    names = [device_name(snapshot.devices[node].device) for node in instance.nodes if node in snapshot.devices]
    if len(names) < 2:  # noqa: PLR2004
        return f"on {names[0]}" if names else ""
    return f"on {', '.join(names[:-1])} and {names[-1]}"
