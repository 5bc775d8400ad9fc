"""How a device was over the last 24 hours: fine for the last minutes, coarser the older it is. Its size is fixed."""

from __future__ import annotations

import math
from array import array
from typing import Final

FIELDS: Final = ("memory", "load", "temperature", "power", "round_trip", "in_flight")
"""What is kept: share of memory in use and load (0 to 1), degrees Celsius, watts, seconds, requests."""

_LEVELS: Final = ((1, 120), (10, 180), (60, 360), (300, 288))
"""Seconds of one slot, and slots: two minutes, half an hour, six hours, a day."""

_NOTHING: Final = math.nan


class _Ring:
    """The means of one field over slots of some seconds each."""

    def __init__(self, step: int, slots: int) -> None:
        self.step = step
        self.span = step * slots
        self._means = array("f", [_NOTHING]) * slots
        self._newest = -1
        self._count = 0

    def add(self, when: float, value: float) -> None:
        slot = int(when // self.step)
        if slot < self._newest:
            return  # the clock was set back
        if slot > self._newest:
            if self._newest >= 0:  # there is nothing yet to forget otherwise
                for skipped in range(max(self._newest + 1, slot - len(self._means) + 1), slot + 1):
                    self._means[skipped % len(self._means)] = _NOTHING
            self._newest, self._count = slot, 0
        if not math.isnan(value):
            place = slot % len(self._means)
            self._count += 1
            mean = 0.0 if self._count == 1 else self._means[place]
            self._means[place] = mean + (value - mean) / self._count

    def last(self, when: float, slots: int) -> list[float | None]:
        newest = int(when // self.step)
        return [self._at(slot) for slot in range(newest - slots + 1, newest + 1)]

    def _at(self, slot: int) -> float | None:
        if slot > self._newest or slot <= self._newest - len(self._means) or slot < 0:
            return None
        mean = self._means[slot % len(self._means)]
        return None if math.isnan(mean) else round(mean, 4)


class History:
    """One device's. About 23 kB."""

    def __init__(self) -> None:
        self._rings = {field: [_Ring(step, slots) for step, slots in _LEVELS] for field in FIELDS}

    def add(self, when: float, **values: float | None) -> None:
        """Add what is known at a moment (seconds since the epoch), by the names in `FIELDS`."""
        for field, rings in self._rings.items():
            value = values.get(field)
            for ring in rings:
                ring.add(when, _NOTHING if value is None else value)

    def trend(self, field: str, when: float, seconds: float) -> list[float | None]:
        """Return means over the last `seconds`, oldest first, as fine as they are kept; None where nothing is known.

        Raises:
            KeyError: there is no such field.
        """
        rings = self._rings[field]
        ring = next((each for each in rings if each.span >= seconds), rings[-1])
        return ring.last(when, math.ceil(min(seconds, ring.span) / ring.step))
