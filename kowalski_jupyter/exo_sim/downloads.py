"""Which node has which model on its disk."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from kowalski_jupyter.exo_sim import shapes
from kowalski_jupyter.exo_sim.plan import Model

if TYPE_CHECKING:
    from kowalski_jupyter.exo_sim.cluster import Cluster, Member


class Downloads:
    """The downloads of all nodes. Bytes received, or None for all of a model."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._received: dict[tuple[int, str], int | None] = {}
        self._going: dict[tuple[int, str], asyncio.Task[None]] = {}
        self._entries: dict[tuple[str, str, int | None], dict[str, Any]] = {}

    def has(self, member: Member, model: Model) -> bool:
        """Tell whether a node has all of a model. Disks outlive processes: they go by the machine."""
        return self._received.get((member.index, model.id), None if model.downloaded else 0) is None

    def start(self, member: Member, model: Model) -> None:
        """Begin a download, unless it is there or on its way."""
        key = (member.index, model.id)
        if not self.has(member, model) and key not in self._going:
            self._going[key] = asyncio.get_running_loop().create_task(self._download(key, model))

    async def obtain(self, member: Member, model: Model) -> None:
        """Return once the node has the model, beginning its download if need be."""
        self.start(member, model)
        going = self._going.get((member.index, model.id))
        if going is not None:
            await asyncio.shield(going)

    async def _download(self, key: tuple[int, str], model: Model) -> None:
        steps = 10
        try:
            for step in range(1, steps):
                await self._cluster.clock.sleep(self._cluster.plan.timings.download / steps)
                self._received[key] = model.size * step // steps
                self._cluster.event()
            self._received[key] = None
        finally:
            del self._going[key]

    def of(self, member: Member) -> list[dict[str, Any]]:
        """Return a node's list, as `/state/downloads` has it."""
        found = []
        for model in self._cluster.models.values():
            received = None if self.has(member, model) else self._received.get((member.index, model.id)) or 0
            key = (member.id, model.id, received)
            if key not in self._entries:
                self._entries[key] = shapes.download(member.id, model, received)
            found.append(self._entries[key])
        return found

    def end(self) -> None:
        """Stop all downloads."""
        for going in list(self._going.values()):
            going.cancel()
