"""Looks at one cluster again and again, each part of its state as often as it is worth."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from kowalski_jupyter.cluster.exo.client import ExoClient, NoSuchPartError, Part
from kowalski_jupyter.cluster.exo.read import known_addresses, present_nodes, read_state
from kowalski_jupyter.cluster.exo.views import ClusterState

_EVERY: Final = {
    "lastEventAppliedIdx": 1.0,
    "instances": 1.0,
    "runners": 1.0,
    "tasks": 1.0,
    "lastSeen": 1.0,
    "nodeMemory": 2.0,
    "nodeSystem": 2.0,
    "topology": 5.0,
    "nodeDisk": 30.0,
    "nodeNetwork": 30.0,
    "nodeIdentities": 60.0,
}
"""Seconds between two looks at a part of the state, about as often as exo itself renews it."""

_OFTEN: Final = 1.0

_OF_NEW_NODES: Final = ("topology", "nodeNetwork", "nodeIdentities", "nodeMemory", "nodeSystem", "nodeDisk")
_WAYS: Final = {"topology", "nodeNetwork"}
_ALL: Final = ""

_BYTES_PER_SECOND: Final = 64 << 10
"""Of one part at most. One that has grown (long prompts in tasks) is asked for less often."""

_BYTES_PER_SECOND_SELDOM: Final = 8 << 10
"""The same, of a part that changes seldom: a hundred devices have ten thousand edges."""

_HASTE: Final = 0.1
"""Seconds by which a part may be early, so that a look a little before its time need not wait for the next."""


class Poller:
    """The parts of one cluster's state as they were told last.

    Args:
        client: asks.

    Attributes:
        tasks_at: when the list of tasks was asked for last, by a clock that only grows. Long prompts make it large.
    """

    def __init__(self, client: ExoClient) -> None:
        self.tasks_at = 0.0
        self._client = client
        self._parts: dict[str, Any] = {}
        self._next: dict[str, float] = {}
        self._whole = False
        self._ways: tuple[Any, Any, str] = (None, None, "")
        self._addresses: Mapping[str, Sequence[str]] = {}

    async def look(self, url: str, *, fresh: bool = False) -> ClusterState:
        """Ask the node at `url` for what is due, and return all that is known now.

        Args:
            url: its base URL.
            fresh: ask for everything that may change from one second to the next, due or not.

        Raises:
            NodeSilentError: the node does not answer.
        """
        index = self._parts.get("lastEventAppliedIdx")
        await self._ask(url, self._due(fresh=fresh))
        if self._has_begun_anew(index):
            await self._ask(url, () if self._whole else tuple(_EVERY))
        elif not self._whole and self._nodes_have_changed():
            await self._ask(url, _OF_NEW_NODES)
        ways = (self._parts.get("topology"), self._parts.get("nodeNetwork"), url)
        if any(new is not old for new, old in zip(ways, self._ways, strict=True)):
            self._ways, self._addresses = ways, known_addresses(self._parts, url)
        return read_state(self._parts, self._addresses)

    def _due(self, *, fresh: bool) -> tuple[str, ...]:
        now = time.monotonic() + _HASTE
        names = (_ALL,) if self._whole else tuple(_EVERY)
        if not self._parts:
            # What can be shown first is asked for first: the ways between a hundred nodes take a while.
            names = tuple(name for name in names if name not in _WAYS)
        return tuple(
            name for name in names if self._next.get(name, 0.0) <= now or (fresh and _EVERY.get(name, 0.0) <= _OFTEN)
        )

    async def _ask(self, url: str, names: tuple[str, ...]) -> None:
        asked = time.monotonic()
        answers = await asyncio.gather(*(self._part(url, name) for name in names))
        if not self._whole and any(
            name == "instances" and part is None for name, part in zip(names, answers, strict=True)
        ):
            # Before 1.0.70 there are no parts, only the whole.
            self._whole = True
            await self._ask(url, (_ALL,))
            return
        now = time.monotonic()
        for name, part in zip(names, answers, strict=True):
            if part is None:
                self._parts.pop(name, None)
            elif self._whole:
                self._parts = part.value if isinstance(part.value, dict) else {}
            else:
                self._parts[name] = part.value
            if name in {"tasks", _ALL}:
                self.tasks_at = asked
            every, size = _EVERY.get(name, 1.0), 0 if part is None else part.size
            rate = _BYTES_PER_SECOND if every <= _OFTEN else _BYTES_PER_SECOND_SELDOM
            self._next[name] = now + max(every, size / rate)

    async def _part(self, url: str, name: str) -> Part | None:
        try:
            return await self._client.state(url, name)
        except NoSuchPartError:
            return None

    def _has_begun_anew(self, before: object) -> bool:
        now = self._parts.get("lastEventAppliedIdx")
        return isinstance(before, int) and isinstance(now, int) and now < before

    def _nodes_have_changed(self) -> bool:
        """Tell whether nodes are there of which too little is known, or are gone, if that is not known just now."""
        seen, identities = self._parts.get("lastSeen"), self._parts.get("nodeIdentities")
        known = set(present_nodes(self._parts.get("topology")))
        asked = self._next.get("topology", math.inf) - _EVERY["topology"]
        changed = (isinstance(seen, dict) and seen.keys() != known) or (
            isinstance(identities, dict) and not known <= identities.keys()
        )
        return changed and time.monotonic() - asked > 1.0
