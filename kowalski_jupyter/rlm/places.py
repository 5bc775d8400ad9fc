"""How many requests a server gets at a time: as many as it works on, and fewer once it says that it is full."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from dataclasses import dataclass
from typing import Final

_ROUNDS: Final = 4
"""Rounds of replies after which one request more is tried at a time."""

_TRIES: Final = 9
"""How often a request is sent to a server that refuses it and answers nothing of ours: for some 15 seconds."""

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 4.0


@dataclass(slots=True)
class Place:
    """What a request has from when it is sent to its end.

    Attributes:
        width: how many requests the server had places for then.
        answered: whether it has begun to answer.
    """

    width: int
    answered: bool = False


class Places:
    """The places at one server. Belongs to one event loop.

    Args:
        most: requests that it works on at a time, by what is known of it.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._width = most
        self._taken = 0
        self._answered = 0
        self._replies = 0
        self._tried_more = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> Place:
        """Return a place as soon as there is one."""
        if self._taken < self._width and not self._waiting:
            self._taken += 1
        else:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._taken -= 1
                    self._let_in()
                raise
        return Place(self._width)

    def answers(self, place: Place) -> None:
        """Note that the server begins to answer."""
        place.answered = True
        self._answered += 1

    def leave(self, place: Place) -> None:
        """Take a place back. After some that were answered, one request more is tried at a time."""
        self._taken -= 1
        if place.answered:
            self._answered -= 1
            self._replies += 1
            if self._width < self._most and self._replies >= _ROUNDS * self._width:
                self._width, self._replies, self._tried_more = self._width + 1, 0, True
        self._let_in()

    def refused(self, place: Place, times: int) -> float | None:
        """Note that the server had no room for a request, so many times in a row, and narrow its width.

        Return the seconds to wait before it is sent again, or None if it is not.
        """
        if place.width == self._width:  # else it only says again what was heard from those that were sent with it
            width = self._width - 1 if self._tried_more else min(self._width, self._taken) // 2
            self._width, self._replies, self._tried_more = max(1, width), 0, False
        if times >= _TRIES and not self._answered:
            return None
        longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**times)
        return random.uniform(0.5, 1.0) * longest  # noqa: S311 (no secret)

    def _let_in(self) -> None:
        while self._waiting and self._taken < self._width:
            turn = self._waiting.popleft()
            if not turn.done():
                self._taken += 1
                turn.set_result(None)
