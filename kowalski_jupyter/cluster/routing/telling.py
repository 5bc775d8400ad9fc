"""What happens many times, told in few lines: the first one soon, each further one ever later."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

Tell = Callable[[str], None]

_FIRST: Final = 0.5
"""Seconds from the first happening to the first line, which tells of all until then."""

_APART: Final = 10.0
"""How many times as long it takes until the next line."""


class Telling:
    """Belongs to one event loop.

    Args:
        tell: takes the lines.
        words: makes a line of what has happened how often.
        forget: called when nothing has happened for as long as the next line would have taken.
    """

    def __init__(self, tell: Tell, words: Callable[[Counter[str]], str], forget: Callable[[], object]) -> None:
        self._tell = tell
        self._words = words
        self._forget = forget
        self._happened: Counter[str] = Counter()
        self._told = False
        self._wait = _FIRST
        self._timer = asyncio.get_running_loop().call_later(self._wait, self._on_time)

    def add(self, what: str) -> None:
        """Note that something has happened."""
        self._happened[what] += 1

    def say(self) -> None:
        """Tell at once, if nothing was told yet."""
        if not self._told and self._happened:
            self._say()

    def close(self) -> None:
        """Tell no more."""
        self._timer.cancel()

    def _on_time(self) -> None:
        if self._happened:
            self._say()
        elif self._told:
            self._forget()
            return
        self._wait *= _APART
        self._timer = asyncio.get_running_loop().call_later(self._wait, self._on_time)

    def _say(self) -> None:
        happened, self._happened, self._told = self._happened, Counter(), True
        self._tell(self._words(happened))
