"""Simulated time: it runs `speed` times faster than the wall's, and all that exo waits for is measured in it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class Clock:
    """Seconds since the simulation began, as its nodes see them."""

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self._zero = time.monotonic()
        self._began = datetime.now(UTC)

    def now(self) -> float:
        """Return the simulated seconds since the beginning."""
        return (time.monotonic() - self._zero) * self.speed

    def date(self, seconds: float) -> datetime:
        """Return the date of a moment of `now`."""
        return self._began + timedelta(seconds=seconds)

    async def sleep(self, seconds: float) -> None:
        """Wait so many simulated seconds."""
        await asyncio.sleep(seconds / self.speed)

    def later(self, seconds: float, what: Callable[[], None]) -> asyncio.TimerHandle:
        """Call something in so many simulated seconds."""
        return asyncio.get_running_loop().call_later(seconds / self.speed, what)
