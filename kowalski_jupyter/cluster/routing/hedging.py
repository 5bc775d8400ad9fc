"""When a second end is asked for a reply that takes too long: seldom, and only by what was measured."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from typing import Final

from kowalski_jupyter.cluster.routing.decisions import Decisions, some
from kowalski_jupyter.cluster.routing.end import End
from kowalski_jupyter.cluster.routing.score import Wanted
from kowalski_jupyter.cluster.routing.troubles import Tell

_ENOUGH: Final = 20
"""Replies to be measured before any is said to take too long."""

_TIMES: Final = 2.0
"""How much longer than nineteen of twenty others a reply has taken when it is asked for again."""

_LEAST: Final = 0.2
_SHARE: Final = 0.05
_SOME: Final = 3.0

_FIRST_LINE: Final = 0.5
_LINES_APART: Final = 10.0
"""Seconds after which the user is told of second attempts for the first time, and how many times as long until the
next."""

WHY: Final = "{where} has taken twice as long for it as for 19 of 20 others"


class Hedging:
    """Counts requests and second attempts, so that these stay few, and tells of them.

    Args:
        decisions: what is told there of each.
    """

    def __init__(self, decisions: Decisions) -> None:
        self._left = _SOME
        self._decisions = decisions
        self._lines: dict[Tell, _Line] = {}

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

    def over(self, wanted: Wanted, first: End, second: End, *, won: bool, tell: Tell) -> None:
        """Note which of two attempts has answered first; `won` says that it was the second."""
        winner, loser = (second, first) if won else (first, second)
        why = f"{'asked second' if won else 'asked first'}, the request to {loser.where} is dropped"
        self._decisions.note(wanted.kind, winner.where, why, did="was answered first by")
        if tell not in self._lines:
            self._lines[tell] = _Line(tell, lambda: self._lines.pop(tell))
        self._lines[tell].add(won=won)

    def close(self) -> None:
        """Tell no more."""
        for line in self._lines.values():
            line.close()
        self._lines.clear()


class _Line:
    """What one run is told of second attempts: a line for many, and ever more seldom.

    Args:
        tell: takes it.
        forget: called when there was nothing to tell for long.
    """

    def __init__(self, tell: Tell, forget: Callable[[], object]) -> None:
        self._tell = tell
        self._forget = forget
        self._sent = self._won = 0
        self._wait = _FIRST_LINE
        self._timer = asyncio.get_running_loop().call_later(self._wait, self._say)

    def add(self, *, won: bool) -> None:
        self._sent += 1
        self._won += won

    def _say(self) -> None:
        if not self._sent:
            self._forget()
            return
        verb = "was" if self._sent == 1 else "were"
        said = f"{some('subcall', self._sent)} took twice as long as 19 of 20 others and {verb} asked a second time"
        if not self._won:
            self._tell(f"{said}; the first reply came first all the same.")
        else:
            self._tell(f"{said}; the second reply came first" + (f" {self._won} times." if self._sent > 1 else "."))
        self._sent = self._won = 0
        self._wait *= _LINES_APART
        self._timer = asyncio.get_running_loop().call_later(self._wait, self._say)

    def close(self) -> None:
        self._timer.cancel()
