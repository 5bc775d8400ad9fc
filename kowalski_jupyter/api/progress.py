"""How far a batch is, and how long it may still take."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Final

_LATELY: Final = 50
"""Tasks whose ends the throughput is taken from."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A batch at one moment.

    Attributes:
        total: its tasks.
        done: those that have ended, well or not, in this call or an earlier one of the same name.
        failed: those of them that have no answer.
        running: those that are going on.
        queued: those that wait.
        per_second: tasks that end in a second, lately.
        seconds_left: until the last one ends, at that rate; None before any has ended.
        stopping: whether it was told to stop: what runs is finished, and no more is begun.
    """

    total: int
    done: int
    failed: int
    running: int
    queued: int
    per_second: float
    seconds_left: float | None
    stopping: bool = False

    def __str__(self) -> str:
        parts = [
            f"{self.done} of {self.total} done",
            f"{self.failed} failed" if self.failed else "",
            f"{self.running} running, {self.queued} waiting" if self.running or self.queued else "",
            f"{self.per_second:.2g} a second" if self.per_second else "",
            f"about {_duration(left)} left" if (left := self.seconds_left or 0) >= 1 and not self.stopping else "",
            "stopping when those that run have ended" if self.stopping and self.running else "",
        ]
        return ", ".join(part for part in parts if part)


class Meter:
    """Counts a batch's tasks. Not for several threads.

    Args:
        total: how many there are.
        done: how many have ended before.
        failed: how many of those have no answer.
    """

    def __init__(self, total: int, done: int = 0, failed: int = 0) -> None:
        self.total = total
        self.done = done
        self.failed = failed
        self.running = 0
        self.stopping = False
        self._ends: deque[float] = deque([time.monotonic()], maxlen=_LATELY)

    def began(self) -> None:
        """Note that a task begins."""
        self.running += 1

    def left(self) -> None:
        """Note that a task was stopped before its end."""
        self.running -= 1

    def ended(self, *, failed: bool) -> None:
        """Note that a task has ended."""
        self.running -= 1
        self.done += 1
        self.failed += failed
        self._ends.append(time.monotonic())

    def progress(self) -> Progress:
        """Return how far it is now."""
        queued = self.total - self.done - self.running
        took = self._ends[-1] - self._ends[0]
        rate = (len(self._ends) - 1) / took if took > 0 else 0.0
        left = (self.total - self.done) / rate if rate else None
        return Progress(self.total, self.done, self.failed, self.running, queued, rate, left, self.stopping)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
