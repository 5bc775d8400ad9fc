"""A time limit that can be paused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Deadline:
    """Calls `on_end` on the running loop when it has run for `seconds` in all, pauses left out."""

    def __init__(self, seconds: float, on_end: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._left = seconds
        self._on_end = on_end
        self._ends = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.resume()

    def pause(self) -> None:
        """Stop the clock."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._left = self._ends - self._loop.time()

    def resume(self) -> None:
        """Let the clock run again."""
        if self._timer is None:
            self._ends = self._loop.time() + self._left
            self._timer = self._loop.call_at(self._ends, self._on_end)

    def cancel(self) -> None:
        """Never call `on_end`."""
        self.pause()
        self._on_end = _nothing


def _nothing() -> None:
    """Do nothing."""
