"""JSON in lines, as requests to a kernel of ours and its replies go over their socket: for both ends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_encode = json.JSONEncoder(ensure_ascii=False).encode


class Lines:
    """Makes lines of pieces cut anywhere.

    Attributes:
        size: bytes of the line that has not ended yet.
    """

    def __init__(self) -> None:
        self.size = 0
        self._begun: list[bytes] = []

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the lines that `piece` completes."""
        self._begun.append(piece)
        self.size += len(piece)
        if b"\n" not in piece:
            return []
        *lines, rest = b"".join(self._begun).split(b"\n")
        self._begun, self.size = [rest], len(rest)
        return lines


def encoded(value: Mapping[str, Any]) -> bytes:
    """Return `value` as JSON, which has no line ends."""
    # "replace" is for lone surrogates, which Python strings may hold and UTF-8 may not.
    return _encode(value).encode("utf-8", "replace")
