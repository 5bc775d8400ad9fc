"""How fast requests are sent to replicas, of which exo's master chooses one by a count that is a moment old."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import Final

from kowalski_jupyter.models.exo import EXO_WIDTH

COUNTS: Final = 0.1
"""Seconds that exo's master may take to count a request that it was given."""

_SHORT: Final = 4 * COUNTS
"""Seconds of a reply below which replicas are kept busy by a reserve in their queues, and not by sending slowly."""

_TURN: Final = 0.03
"""Seconds that a busy client takes to notice that a reply has ended, and to send the next request."""


class Pace:
    """Never sends more at once than would be well if they all went to the same replica."""

    def __init__(self) -> None:
        self._sends: deque[float] = deque(maxlen=256)

    def sent(self) -> None:
        """Note that a request is sent now."""
        self._sends.append(time.monotonic())

    def pause(self, replicas: int, in_flight: int, seconds: float | None) -> float:
        """Return for how many seconds nothing more should be sent.

        Args:
            replicas: how many there are.
            in_flight: requests of ours that they have, all together.
            seconds: that a reply takes, if known.
        """
        if replicas <= 1 or (seconds is not None and seconds <= _SHORT):
            return 0.0
        free = (EXO_WIDTH * replicas - in_flight) // replicas
        done = math.ceil(EXO_WIDTH * replicas * COUNTS / seconds) if seconds else 1
        most = max(1, free, done)
        now = time.monotonic()
        if len(self._sends) < most or now - self._sends[-most] >= COUNTS:
            return 0.0
        return self._sends[-most] + COUNTS - now


def reserve(limit: int, replicas: int, seconds: float | None) -> int:
    """Return as many requests as are done while the master counts those that it was just given.

    Args:
        limit: requests that they work on at a time.
        replicas: how many there are.
        seconds: that a reply takes, if known.
    """
    if replicas == 1 or seconds is None or seconds > _SHORT:
        return 0
    return min(limit, math.ceil(limit * COUNTS / max(seconds, COUNTS / 10)))


def stock(limit: int, seconds: float | None, way: float | None) -> int:
    """Return as many requests as end from the end of a reply until the next request is there; 0 for long replies.

    Args:
        limit: requests that are worked on at a time.
        seconds: that a reply takes, if known.
        way: seconds to the end and back, if known.
    """
    if not seconds:
        return 0
    return min(limit, round(limit * (_TURN + (way or 0.0)) / seconds))
