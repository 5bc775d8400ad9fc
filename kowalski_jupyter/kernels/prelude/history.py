"""What earlier cells did, for code to read when older turns are no longer in the chat."""

from __future__ import annotations

from typing import Any

from .tracebacks import cut

MOST_PER_CELL = 200_000
MOST_IN_ALL = 4_000_000
"""Characters of outputs. Beyond it, the oldest are cut to `SHORT`."""
SHORT = 2_000


class History:
    """Keeps `cells`: a list of ``{"cell": number, "code": str, "output": str}``, oldest first.

    The user's code may do to that list and its dicts what it likes: nothing is read back from them.
    """

    def __init__(self) -> None:
        self.cells: list[dict[str, Any]] = []
        self._outputs: list[tuple[dict[str, Any], str]] = []
        self._size = 0
        self._next_to_shorten = 0
        self._pieces: list[str] = []

    def write(self, text: str, omitted: int) -> None:
        """Add a piece of the running cell's output; `omitted` characters were left out before it."""
        if omitted:
            self._pieces.append(f"\n… {omitted:,} characters left out …\n")
        self._pieces.append(text)

    def end_cell(self, number: int, code: str) -> None:
        """Add the cell that has ended."""
        output = cut("".join(self._pieces), MOST_PER_CELL)
        self._pieces.clear()
        entry = {"cell": number, "code": code, "output": output}
        self.cells.append(entry)
        self._outputs.append((entry, output))
        self._size += len(output)
        while self._size > MOST_IN_ALL and self._next_to_shorten < len(self._outputs):
            self._shorten(self._next_to_shorten)
            self._next_to_shorten += 1

    def _shorten(self, place: int) -> None:
        entry, output = self._outputs[place]
        short = cut(output, SHORT)
        self._size -= len(output) - len(short)
        self._outputs[place] = entry, short
        entry["output"] = short
