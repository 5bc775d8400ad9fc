"""Requests that wait for room: turns first, then what was lost and is sent again, then sub-calls by how they begin."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from kowalski_jupyter.cluster.routing.end import End
from kowalski_jupyter.cluster.routing.score import Wanted


@dataclass(eq=False, slots=True)
class Waiting:
    """A request that waits.

    Attributes:
        wanted: what is known of it.
        ends: where it may go.
        tell: takes a line for the user.
        again: whether it was sent before, and lost.
        placed: the end that it got.
    """

    wanted: Wanted
    ends: Sequence[End]
    tell: Callable[[str], None]
    again: bool
    placed: asyncio.Future[End]


class Queue:
    """One queue for all. First come, first served, but for what the module says."""

    def __init__(self) -> None:
        self._first: deque[Waiting] = deque()
        self._again: deque[Waiting] = deque()
        self._alike: OrderedDict[int, deque[Waiting]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Waiting]:
        """Give them in the order in which they should be sent."""
        yield from self._first
        yield from self._again
        for group in self._alike.values():
            yield from group

    def add(self, waiting: Waiting) -> None:
        """Take one in."""
        self._group(waiting).append(waiting)
        self._count += 1

    def remove(self, waiting: Waiting) -> None:
        """Take one out; nothing happens if it is out."""
        group = self._group(waiting)
        if waiting in group:  # near its beginning: they are sent in order
            group.remove(waiting)
            self._count -= 1
        if not group and self._alike.get(waiting.wanted.prefix) is group:
            del self._alike[waiting.wanted.prefix]

    def _group(self, waiting: Waiting) -> deque[Waiting]:
        if waiting.wanted.kind != "subcall":
            return self._first
        if waiting.again:
            return self._again
        return self._alike.setdefault(waiting.wanted.prefix, deque())
