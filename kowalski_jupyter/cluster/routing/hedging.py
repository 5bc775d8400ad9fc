"""When a second end is asked for a reply that takes too long: seldom, and only by what was measured."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from kowalski_jupyter.cluster.routing.decisions import Decisions, some
from kowalski_jupyter.cluster.routing.end import End
from kowalski_jupyter.cluster.routing.score import Wanted
from kowalski_jupyter.cluster.routing.telling import Tell, Telling

_ENOUGH: Final = 20
"""Replies to be measured before any is said to take too long."""

_TIMES: Final = 2.0
"""How much longer than nineteen of twenty others a reply has taken when it is asked for again."""

_LEAST: Final = 0.2
_SHARE: Final = 0.05
_SOME: Final = 3.0

_WON: Final = "the second attempt"
_LOST: Final = "the first attempt"

WHY: Final = "{where} has taken twice as long for it as for 19 of 20 others"


class Hedging:
    """Counts requests and second attempts, so that these stay few, and tells of them.

    Args:
        decisions: what is told there of each.
    """

    def __init__(self, decisions: Decisions) -> None:
        self._left = _SOME
        self._decisions = decisions
        self._lines: dict[Tell, Telling] = {}

    def at(self, end: End, wanted: Wanted) -> float | None:
        """Return by which time the reply should be there, by the loop's clock; None for no such time."""
        if wanted.kind != "subcall" or len(end.durations) < _ENOUGH:
            return None
        self._left = min(_SOME * 4, self._left + _SHARE)
        slow = sorted(end.durations)[len(end.durations) * 19 // 20]
        return asyncio.get_running_loop().time() + max(_LEAST, _TIMES * slow)

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
            self._lines[tell] = Telling(tell, _words, lambda: self._lines.pop(tell))
        self._lines[tell].add(_WON if won else _LOST)

    def close(self) -> None:
        """Tell no more."""
        for line in self._lines.values():
            line.close()
        self._lines.clear()


def _words(attempts: Counter[str]) -> str:
    count, won = attempts.total(), attempts[_WON]
    asked = f"{some('subcall', count)} took twice as long as 19 of 20 others and {'was' if count == 1 else 'were'}"
    if not won:
        return f"{asked} asked a second time; the first reply came first all the same."
    return f"{asked} asked a second time; the second reply came first" + (f" {won} times." if count > 1 else ".")
