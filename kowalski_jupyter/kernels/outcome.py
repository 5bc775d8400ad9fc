"""What a kernel's messages and its end mean, in our terms and in words."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

from .base import Output, OutputKind
from .client import valid
from .rich import rich_of


def output_of(message: Mapping[str, Any]) -> Output | None:
    """Return the output that an iopub message carries."""
    content = message["content"]
    omitted = message["metadata"].get("omitted", 0) if isinstance(message["metadata"], dict) else 0
    omitted = omitted if isinstance(omitted, int) else 0
    match message["msg_type"], content:
        case "stream", {"name": "stdout" | "stderr" as kind, "text": str(text)}:
            return Output(kind, valid(text), omitted)
        case "execute_result", {"data": dict(data)}:
            return _shown("result", data, omitted)
        case "display_data" | "update_display_data", {"data": dict(data)}:
            return _shown("display", data, omitted)
        case "error", {"traceback": [_, *_] as lines}:
            return Output("error", valid("\n".join(str(line) for line in lines)), omitted)
        case "error", {"ename": str(name), "evalue": str(value)}:
            return Output("error", valid(f"{name}: {value}"), omitted)
    return None


def _shown(kind: OutputKind, data: Mapping[str, Any], omitted: int) -> Output | None:
    """Return what a MIME bundle shows, None if it has neither text nor a form that is shown."""
    text = data.get("text/plain")
    rich, what = rich_of(data)
    said = [part for part in (text.strip("\n") if isinstance(text, str) else "", what) if part.strip()]
    if rich is None:
        return Output(kind, valid(text), omitted) if isinstance(text, str) else None
    return Output(kind, valid("\n".join(said) or "[shown to the user]"), omitted, rich)


def last_outputs(reply: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the messages of a cell's last outputs, which our own kernel sends with its reply (prelude/kernel.py).

    The reply also says how many were ``published`` before it. Other kernels do neither: an ``idle`` status ends theirs.
    """
    outputs = reply.get("outputs")
    fields = {"msg_type", "content", "metadata"}
    return [m for m in outputs if isinstance(m, dict) and m.keys() >= fields] if isinstance(outputs, list) else []


def cause_of_death(status: int, *, out_of_memory: bool) -> str:
    """Say in words why a kernel is gone, from the exit status (a shell's 128 + n stands for signal n)."""
    number = -status if status < 0 else status - 128 if status > 128 else 0  # noqa: PLR2004
    try:
        name = signal.Signals(number).name if number else ""
    except ValueError:
        name = f"signal {number}"
    if out_of_memory and name == "SIGKILL":
        cause = "it used more memory than it may"
    elif name == "SIGKILL":
        cause = "it was killed from outside, perhaps because the machine ran out of memory"
    elif name == "SIGSEGV":
        cause = "it crashed (segmentation fault)"
    elif name == "SIGABRT":
        cause = "it crashed (abort; often a failed allocation of memory)"
    elif name:
        cause = f"it crashed ({name})"
    else:
        cause = f"the code ended the process with exit status {status}"
    return f"the kernel is gone: {cause}; all variables are gone"
