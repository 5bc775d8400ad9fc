"""What all drivers share: commands as JSON lines on standard input, answers on standard output."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

_BLOCK_SIZE = 1_000_000


def make_context(size: int) -> str:
    """Return ASCII text of `size` bytes, with the word ``needle`` once in every million."""
    line = "the quick brown fox jumps over the lazy dog and goes on\n"
    block = ("a needle in a stack of hay\n" + line * (_BLOCK_SIZE // len(line) + 1))[:_BLOCK_SIZE]
    return (block * (size // _BLOCK_SIZE + 1))[:size]


def serve(ask: Callable[[str, str], object]) -> None:
    """Answer commands until standard input ends: `ask` takes question and context, and returns the answer."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever an implementation prints goes to standard error
    context = ""
    for line in sys.stdin:
        command = json.loads(line)
        if "context_size" in command:
            context = make_context(command["context_size"])
            said: dict[str, object] = {"length": len(context)}
        else:
            asked = time.monotonic()
            answer = ask(command["question"], context)
            said = {"asked": asked, "answered": time.monotonic(), "answer": str(answer)}
        out.write(json.dumps(said) + "\n")
        out.flush()
