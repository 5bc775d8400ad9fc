"""A cell's outputs, cut here where a kernel does not cut them itself (our own does: prelude/output.py)."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable

from .base import Output, Rich
from .prelude.limits import COST, RICH, TAIL

LEAST = 512
"""What an output counts at least as work of the service, which is what a flood of small ones is."""


class Limiter:
    """Passes the first `limit` characters on, and of the rest the end, with the number of those left out.

    Attributes:
        received: characters that have come in all, each output counted as `LEAST` at least.
    """

    def __init__(self, limit: int, send: Callable[[Output], None]) -> None:
        self.received = 0
        self._room = limit
        self._rich_room = RICH
        self._send = send
        self._tail: deque[Output] = deque()
        self._tail_size = 0
        self._omitted = 0

    def add(self, output: Output) -> None:
        """Take one output."""
        self.received += max(len(output.text), LEAST) + (len(output.rich.data) if output.rich else 0)
        fits = output.text[: self._room] if self._room > 0 else ""
        if fits or (self._room > 0 and not output.text):
            self._room -= max(len(fits), COST)
            self._send(dataclasses.replace(output, text=fits, rich=self._fitting(output.rich)))
        elif output.omitted:
            self._omitted += output.omitted
        if len(fits) < len(output.text):
            self._keep(Output(output.kind, output.text[len(fits) :]))

    def _fitting(self, rich: Rich | None) -> Rich | None:
        if rich is None or len(rich.data) > self._rich_room:
            return None
        self._rich_room -= len(rich.data)
        return rich

    def end(self) -> None:
        """Send what was kept of the end."""
        omitted, self._omitted = self._omitted, 0
        for output in self._tail:
            self._send(Output(output.kind, output.text, omitted))
            omitted = 0
        self._tail.clear()

    def _keep(self, output: Output) -> None:
        self._tail.append(output)
        self._tail_size += max(len(output.text), COST)
        while self._tail_size > TAIL:
            first = self._tail.popleft()
            excess = min(self._tail_size - TAIL, len(first.text))
            self._omitted += excess
            self._tail_size -= max(len(first.text), COST)
            if rest := first.text[excess:]:
                self._tail.appendleft(Output(first.kind, rest))
                self._tail_size += max(len(rest), COST)
                if len(rest) <= COST:
                    break
