"""One cluster under watch: asks whichever of its nodes answers, and remembers those that went away."""

from __future__ import annotations

import time
from typing import Final

from kowalski_jupyter.cluster.exo.client import ExoClient, NodeSilentError
from kowalski_jupyter.cluster.exo.poll import Poller
from kowalski_jupyter.cluster.exo.views import ClusterState, Device
from kowalski_jupyter.cluster.reach import Reaches
from kowalski_jupyter.cluster.snapshot import STALE_SECONDS, Condition

_REMEMBER_SECONDS: Final = 600.0
"""How long a device that went away is still shown, and a cluster none of whose nodes answers is still asked."""

_PATIENCE: Final = 1.0
"""Seconds for another node to take the place of the one that was asked."""


class Watch:
    """What is known of one cluster.

    Attributes:
        key: id of the first node that was found of it.
        url: base URL of the node that is asked; None if none answers.
        state: as it was said last.
        session: grows by one with each new master.
        since: when that master was noticed, in seconds since the epoch.
        new_master: whether that was since the last look.
        lost: devices that are gone, and since when.
        returned: devices that took the place of one that was lost, since the last look.
        only_named: whether it is for runs alone that name its address.
    """

    def __init__(self, client: ExoClient, key: str, url: str, *, only_named: bool = False) -> None:
        self.key = key
        self.only_named = only_named
        self.url: str | None = url
        self.state = ClusterState()
        self.session = 0
        self.since = time.time()
        self.new_master = False
        self.lost: dict[str, tuple[Device, float]] = {}
        self.returned: list[Device] = []
        self.reaches = Reaches(client)
        self._client = client
        self._poller = Poller(client)
        self._places = {key: url}
        self._home = url
        self._stamped = 0.0
        self._frozen = 0.0
        self._answered = time.monotonic()
        self._gone: dict[str, Device] = {}

    async def look(self, *, fresh: bool = False) -> None:
        """Look at the cluster, through another of its nodes if the one that was asked is silent."""
        if self.url is None or not await self._looked(self.url, fresh=fresh):
            others = dict.fromkeys(place for place in (*self._places.values(), self._home) if place != self.url)
            url = await self._client.first_to_answer(others, _PATIENCE)
            if url is None or not await self._looked(url, fresh=fresh):
                self.url, self._gone = None, {}
        await self.reaches.check(self.state.devices.values(), self._places, urgent=self._silent())
        for node in self.state.devices:
            if place := self.reaches.url(node):
                self._places[node] = place
        self._account()

    def condition(self, device: Device) -> Condition:
        """Return how a device of the state is."""
        staleness = self.staleness(device)
        stale = self.url is None or (staleness is not None and staleness > STALE_SECONDS)
        if stale:
            return "lost" if self.reaches.silent(device.id) else "stale"
        return "unreachable" if self.reaches.silent(device.id) and not self.reaches.url(device.id) else "ok"

    def staleness(self, device: Device) -> float | None:
        """Return for how long the master had not heard of a device; None if it does not say.

        Where the master's clock itself stands still, because it is gone, that counts too.
        """
        if device.last_seen is None or self.state.stamp is None:
            return None
        return self.state.stamp - device.last_seen + self._frozen

    def has(self, node: str) -> bool:
        """Return whether a node is of this cluster."""
        return node == self.key or node in self.state.devices

    @property
    def over(self) -> bool:
        """Whether no node has answered for so long that it is a matter of the search."""
        return self.url is None and time.monotonic() - self._answered > _REMEMBER_SECONDS

    async def close(self) -> None:
        """Stop asking."""
        await self.reaches.close()

    @property
    def tasks_at(self) -> float:
        """When its list of tasks was asked for last (`Poller`)."""
        return self._poller.tasks_at

    @property
    def reachable(self) -> list[str]:
        """Addresses where nodes answer."""
        return self.reaches.urls

    async def _looked(self, url: str, *, fresh: bool) -> bool:
        """Look through the node at `url`; return whether it answers."""
        try:
            self._take(url, await self._poller.look(url, fresh=fresh))
        except NodeSilentError:
            return False
        return True

    def _take(self, url: str, state: ClusterState) -> None:
        before, self.state, self.url, self._home = self.state, state, url, url
        if state.begins_anew(before):
            self.session += 1
            self.since, self.new_master = time.time(), True
        now = time.monotonic()
        if state.stamp != before.stamp:
            self._stamped = now
        self._frozen = now - self._stamped
        self._answered = now
        self._gone = {node: device for node, device in before.devices.items() if node not in state.devices}

    def _silent(self) -> list[str]:
        """Return the devices that the master has not heard of lately: they are to be asked at once."""
        return [node for node, each in self.state.devices.items() if self.condition(each) in {"stale", "lost"}]

    def _account(self) -> None:
        """Note who went away and who is back."""
        now = time.time()
        for node, device in self.state.devices.items():
            if self.condition(device) == "lost":
                self.lost.setdefault(node, (device, now))
            elif node in self.lost:
                del self.lost[node]
                self.returned.append(device)
        for node, device in self._gone.items():
            self.lost.setdefault(node, (device, now))
        for node, (device, since) in list(self.lost.items()):
            # A node that is started anew has a new id: it is known by its address, or by its name.
            heir = next((each for each in self.state.devices.values() if self._is_heir(each, node, device)), None)
            if heir is not None:
                self.returned.append(heir)
            if heir is not None or now - since > _REMEMBER_SECONDS:
                del self.lost[node]
                place = self._places.pop(node, None)
                if heir is not None and place is not None:
                    self._places.setdefault(heir.id, place)

    def _is_heir(self, new: Device, old_id: str, old: Device) -> bool:
        if new.id == old_id or new.id in self.lost or self.condition(new) == "lost":
            return False
        place = self._places.get(old_id)
        return (place is not None and self._places.get(new.id) == place) or (bool(old.name) and new.name == old.name)
