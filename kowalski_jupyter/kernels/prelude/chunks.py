"""`chunks`: cut data into parts that a model can read at once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

CHARACTERS = 16_000
"""Of a chunk of text unless told: some 4,000 tokens, so that it fits a small model's window beside the question."""
ITEMS = 50

_HEADING = re.compile(r"\n(?=#{1,6} )")
_BLANK_LINES = re.compile(r"\n(?:[ \t\r]*\n)+")
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]]*\s")  # noqa: RUF001 - the full-width marks are meant
_AHEAD = 8
"""Characters behind a cut that decide whether it is one: a heading's marks."""


def chunks(data: Any, size: int | None = None, overlap: int = 0) -> list[Any]:
    """Cut `data` into a list of parts, none longer than `size`.

    Text is cut before a heading, at a blank line, the end of a line, of a sentence, or between words, whichever comes
    first in this order in the second half of a part. Without `overlap`, ``"".join(chunks(text)) == text``.

    Args:
        data: A str, or a list or anything else that can be sliced, such as a DataFrame.
        size: Characters of text (16,000 unless given), items (50) of anything else.
        overlap: How much of the end of a part stands at the start of the next one as well.
    """
    _check(data)
    text = isinstance(data, str)
    size = (CHARACTERS if text else ITEMS) if size is None else size
    if not _is_count(size) or size < 1:
        raise TypeError(f"chunks: size is a whole number of characters or items, 1 or more, not {size!r}")
    if not _is_count(overlap) or not 0 <= overlap < size:
        raise TypeError(f"chunks: overlap is a whole number, less than size ({size:,}), not {overlap!r}")
    parts = []
    start = 0
    while start < len(data):
        first = _overlap_start(data, start, overlap) if start else 0
        end = _end(data, start, first + size) if text else min(first + size, len(data))
        parts.append(data[first:end])
        start = end
    return parts


def _check(data: Any) -> None:
    if isinstance(data, Mapping):
        raise TypeError("chunks takes text or a list, not a dict. Give list(data.items())")
    if isinstance(data, os.PathLike):
        raise TypeError("chunks takes text or a list, not a path. Give path.read_text()")
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        raise TypeError(f"chunks takes text or a list, not {type(data).__name__}. Perhaps list(data) is what you want")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _overlap_start(data: Any, start: int, overlap: int) -> int:
    """Return where a part begins whose new content begins at `start`: not within a word, if there is a choice."""
    first = max(0, start - overlap)
    if isinstance(data, str) and 0 < first < start and (gap := re.compile(r"\s+").search(data, first - 1, start)):
        return min(gap.end(), start)
    return first


def _end(text: str, start: int, most: int) -> int:
    """Return where to cut ``text[start:most]`` best."""
    if most >= len(text):
        return len(text)
    low = start + max(1, (most - start) // 2)
    for last_cut in _CUTS:
        end = last_cut(text, low, most)
        if low <= end <= most:
            return end
    return most


def _last(pattern: re.Pattern[str]) -> Callable[[str, int, int], int]:
    """Return a function that finds the end of the last match which ends between two places, -1 if there is none."""

    def find(text: str, low: int, high: int) -> int:
        found = -1
        for match in pattern.finditer(text, max(0, low - _AHEAD), high + _AHEAD):
            if match.end() > high:
                break
            found = match.end()
        return found

    return find


def _last_line(text: str, low: int, high: int) -> int:
    return text.rfind("\n", low - 1, high) + 1


_CUTS = (_last(_HEADING), _last(_BLANK_LINES), _last_line, _last(_SENTENCE_END), _last(re.compile(r"\s")))
"""How to find the last good place to cut, the best kind first."""
