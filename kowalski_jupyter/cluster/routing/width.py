"""How many requests an end gets at a time: as many as it says, and fewer while more do not make it faster."""

from __future__ import annotations

from typing import Final

_ENOUGH_TOKENS: Final = 8
_ENOUGH_SECONDS: Final = 0.05
"""Shorter replies say nothing about speed."""

_FALLEN: Final = 0.8
"""Of the best throughput seen: below it, fewer requests are sent."""

_DECREASE: Final = 0.75
_FADES: Final = 0.98
"""What is left of the best throughput after each round: prompts and machines change."""


class Width:
    """A limit that is raised by one and lowered by a quarter, once in as many replies as it allows at a time.

    Args:
        most: requests that the end works on at a time, by what it says of itself.

    Attributes:
        most: the same.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._limit = float(most)
        self._best = 0.0
        self._sum = 0.0
        self._count = 0

    @property
    def limit(self) -> int:
        """Requests that it may have now."""
        return max(1, int(self._limit))

    def set_most(self, most: int) -> None:
        """Take what the end says now; room that it gains is used at once."""
        if most != self.most:
            self._limit = max(1.0, most * self._limit / max(1, self.most))
            self.most, self._best = most, 0.0

    def replied(self, tokens: int, seconds: float, in_flight: int) -> None:
        """Note a whole reply.

        Args:
            tokens: of it.
            seconds: from its first token to its last.
            in_flight: requests that the end had at its end, this one and those that wait there too.
        """
        if tokens < _ENOUGH_TOKENS or seconds < _ENOUGH_SECONDS or in_flight < self.limit:
            return
        self._sum += tokens / seconds * min(in_flight, self.most)
        self._count += 1
        if self._count < self.limit:
            return
        throughput = self._sum / self._count
        self._sum, self._count = 0.0, 0
        if throughput < _FALLEN * self._best:
            self._limit = max(1.0, self.most / 4, self._limit * _DECREASE)
        else:
            self._limit = min(float(self.most), self._limit + 1)
        self._best = max(throughput, self._best * _FADES)

    def refused(self) -> None:
        """Note that the end said that it is too busy."""
        self._limit = max(1.0, self._limit / 2)
