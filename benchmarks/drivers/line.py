"""What all drivers share: commands as JSON lines on standard input, answers on standard output.

A driver is started with the server's URL and, as JSON, the limits that its implementation is to be given:
``max_turns``, ``timeout`` (seconds of a run), ``cell_timeout`` (seconds of a cell), ``max_subcalls``, ``max_errors``
(in a row) and ``depth`` (levels of runs below the first).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

_BLOCK_SIZE = 1_000_000


def arguments() -> tuple[str, dict[str, Any]]:
    """Return the server's URL and the limits."""
    url, options = sys.argv[1:]
    return url, json.loads(options)


def make_context(size: int) -> str:
    """Return ASCII text of `size` bytes, with the word ``needle`` once in every million."""
    line = "the quick brown fox jumps over the lazy dog and goes on\n"
    block = ("a needle in a stack of hay\n" + line * (_BLOCK_SIZE // len(line) + 1))[:_BLOCK_SIZE]
    return (block * (size // _BLOCK_SIZE + 1))[:size]


def serve(ask: Callable[[str, str], object]) -> None:
    """Answer commands until standard input ends: `ask` takes question and context, and returns the answer.

    Whatever `ask` raises is told as an error, ``SystemExit`` and ``KeyboardInterrupt`` too.
    """
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever an implementation prints goes to standard error
    context = ""
    for line in sys.stdin:
        command = json.loads(line)
        said: dict[str, object] = {}
        if "context_size" in command:
            context = make_context(command["context_size"])
        elif "context" in command:
            context = command["context"]
        else:
            said["asked"] = time.monotonic()
            try:
                said["answer"] = str(ask(command["question"], context))
            except BaseException as error:  # noqa: BLE001 - how a run ends is what is asked
                said["error"] = f"{type(error).__name__}: {error}"
            said["answered"] = time.monotonic()
        out.write(json.dumps(said) + "\n")
        out.flush()
