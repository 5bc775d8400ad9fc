"""Keeps requests from what has just failed, and lets one through after a while to see whether it is back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

_ENOUGH: Final = 3
"""Failures in a row after which nothing more is sent."""

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 15.0


class Breaker:
    """Whether something may be asked: an end, a device's API.

    Args:
        clock: seconds that only grow.
        longest: seconds that it waits for at most before it lets one through.

    Attributes:
        trying: whether that one is on its way.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, longest: float = _LONGEST_PAUSE) -> None:
        self._clock = clock
        self._longest = longest
        self._failures = 0
        self._pause = _FIRST_PAUSE
        self._opens: float | None = None
        self.trying = False

    @property
    def closed(self) -> bool:
        """Whether all is well."""
        return self._opens is None

    @property
    def allows(self) -> bool:
        """Whether a request may be sent now: if it has failed lately, one at a time, to see."""
        return self._opens is None or (self._clock() >= self._opens and not self.trying)

    def sent(self) -> None:
        """Note that a request was sent."""
        self.trying = self._opens is not None

    def succeeded(self) -> None:
        """Note that something good came: it is back."""
        self._failures, self._pause, self._opens, self.trying = 0, _FIRST_PAUSE, None, False

    def left(self) -> None:
        """Note that a request ended in a way that proves nothing, as when nobody wanted its reply any more."""
        self.trying = False

    def failed(self, *, surely: bool = False) -> None:
        """Note a failure; `surely` if one is enough, as when nothing listens there."""
        self._failures += 1
        if self._opens is not None:
            # Of many that were under way together only one counts as the try.
            if self.trying:
                self._pause = min(self._longest, self._pause * 2)
                self._opens = self._clock() + self._pause
            self.trying = False
        elif surely or self._failures >= _ENOUGH:
            self._opens = self._clock() + self._pause
