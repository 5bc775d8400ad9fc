"""How long our parser takes for a long reply that arrives in small pieces."""

from __future__ import annotations

import time

from benchmarks.scenarios import MEGABYTE, Figure
from kowalski_jupyter.rlm.protocol import ReplyStream

_PIECE = 8
_PARAGRAPH = "The table has <b>three</b> columns, and [the first] of them counts the visits. " * 6 + "\n\n"
_BLOCK = "```repl\n" + "rows = [row for row in context.splitlines() if '[x]' in row]\n" * 12 + "print(rows)\n```\n\n"

PARSING = (
    Figure("1 MB reply in pieces of 8 characters, parsed", "ms", target=50),
    Figure("2 MB reply in pieces of 8 characters, parsed", "ms"),
)


def make_reply(size: int) -> str:
    """Return prose and code blocks in turn, of `size` characters."""
    part = _PARAGRAPH * 4 + _BLOCK
    return (part * (size // len(part) + 1))[:size]


def seconds_to_parse(megabytes: int) -> float:
    """Feed a reply to a stream piece by piece, as it arrives, and return how long that took."""
    reply = make_reply(megabytes * MEGABYTE)
    pieces = [reply[start : start + _PIECE] for start in range(0, len(reply), _PIECE)]
    started = time.perf_counter()
    stream = ReplyStream()
    for piece in pieces:
        stream.feed(piece)
        if "\n" in piece:
            _ = stream.ended  # as the loop does, which runs a block as soon as its fence closes
    stream.finish()
    seconds = time.perf_counter() - started
    assert sum(segment.kind == "code" for segment in stream.segments) >= megabytes
    return seconds
