"""What went wrong with requests and was put right, told in one line for all of a moment."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

from kowalski_jupyter.cluster.routing.decisions import some
from kowalski_jupyter.models.base import JobKind

_MOMENT: Final = 0.5
"""Seconds in which requests that were lost for the same reason are told of together."""

Tell = Callable[[str], None]


class Troubles:
    """Gathers what is told. Belongs to one event loop."""

    def __init__(self) -> None:
        self._lost: dict[tuple[Tell, str], Counter[JobKind]] = {}
        self._places: dict[tuple[Tell, str], dict[str, None]] = {}

    def sent_again(self, tell: Tell, reason: str, kind: JobKind, where: str) -> None:
        """Note that a request was lost, half a line says why, and is sent again."""
        key = (tell, reason)
        if key not in self._lost:
            self._lost[key], self._places[key] = Counter(), {}
            asyncio.get_running_loop().call_later(_MOMENT, self._say, key)
        self._lost[key][kind] += 1
        self._places[key][where] = None

    def say(self, tell: Tell) -> None:
        """Tell now what is to be told there: it may have an end soon."""
        for key in [key for key in self._lost if key[0] == tell]:
            self._say(key)

    def _say(self, key: tuple[Tell, str]) -> None:
        if key not in self._lost:
            return
        tell, reason = key
        lost, places = self._lost.pop(key), self._places.pop(key)
        what = " and ".join(some(kind, count) for kind, count in lost.items())
        verb = "was" if lost.total() == 1 else "were"
        tell(f"{reason}: {what} {verb} sent again to {' and '.join(places)}.")
