"""How fast this machine is just now: figures of two sittings can be compared when each says."""

from __future__ import annotations

import time

from benchmarks.scenarios import Figure

ADDITIONS = Figure("this machine: a million additions in a loop", "ms")


def seconds_to_add() -> float:
    """Return how long a million additions take: about 40 ms on an idle core of 2024."""
    started = time.perf_counter()
    total = 0
    for number in range(1_000_000):
        total += number
    return time.perf_counter() - started
