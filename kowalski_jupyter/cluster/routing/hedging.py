"""When a second end is asked for a reply that takes too long: seldom, and only by what was measured."""

from __future__ import annotations

import statistics
import time
from typing import Final

from kowalski_jupyter.cluster.routing.end import End
from kowalski_jupyter.cluster.routing.score import Wanted

_ENOUGH: Final = 20
"""Replies to be measured before any is said to take too long."""

_TIMES: Final = 2.0
"""How much longer than nineteen of twenty others a reply has taken when it is asked for again."""

_LEAST: Final = 0.2
_SHARE: Final = 0.05
_SOME: Final = 3.0


class Hedging:
    """Counts requests and second attempts, so that these stay few."""

    def __init__(self) -> None:
        self._left = _SOME

    def at(self, end: End, wanted: Wanted) -> float | None:
        """Return by which time the reply should be there, on a clock that only grows; None for no such time."""
        if wanted.kind != "subcall" or len(end.durations) < _ENOUGH:
            return None
        self._left = min(_SOME * 4, self._left + _SHARE)
        slow = statistics.quantiles(end.durations, n=20)[-1]
        return time.monotonic() + max(_LEAST, _TIMES * slow)

    def allows(self) -> bool:
        """Tell whether one more is few enough."""
        return self._left >= 1

    def hedged(self) -> None:
        """Note a second attempt."""
        self._left -= 1
