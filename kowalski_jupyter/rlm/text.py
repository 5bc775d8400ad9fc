"""Long texts, cut so that both ends stay readable and nobody is misled about their length."""

from __future__ import annotations


class Clip:
    """A text that arrives in pieces, of which only both ends are kept.

    Args:
        limit: the characters to keep, two thirds of them from the start.
    """

    def __init__(self, limit: int) -> None:
        self.length = 0
        self._limit = limit
        self._head = ""
        self._tail = ""

    def add(self, text: str, omitted: int = 0) -> None:
        """Append a piece; `omitted` characters before it were already cut out where it comes from."""
        gap = omitted or self.length > len(self._head)
        self.length += len(text) + omitted
        if not gap:
            room = _head_share(self._limit) - len(self._head)
            self._head += text[:room]
            text = text[room:]
        self._tail = (self._tail + text)[-self._limit :]

    def text(self, limit: int | None = None) -> str:
        """Return the text cut to about `limit` characters: its head, what is missing, its tail."""
        limit = min(limit or self._limit, self._limit)
        if self.length == len(self._head) + len(self._tail) <= limit:
            return self._head + self._tail
        head = self._head[: _head_share(limit)]
        tail = self._tail[-(limit - _head_share(limit)) :]
        missing = self.length - len(head) - len(tail)
        return f"{head}\n[… {missing:,} of {self.length:,} characters left out …]\n{tail}"


def _head_share(limit: int) -> int:
    return limit * 2 // 3


def head_and_tail(text: str, limit: int) -> str:
    """Return `text`, cut to its two ends with what is missing said between them, if it is longer than `limit`."""
    if len(text) <= limit:
        return text
    clip = Clip(limit)
    clip.add(text)
    return clip.text()


def one_line(text: str, limit: int) -> str:
    """Return the text as a single line of at most `limit` characters."""
    line = " ".join(text[: limit * 4].split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
