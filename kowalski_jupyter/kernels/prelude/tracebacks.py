"""Tracebacks for a model to read: the cell's own lines, the place that raised, and the message."""

from __future__ import annotations

import sys
import sysconfig
import traceback
from pathlib import Path

MOST = 10_000
"""Characters of a traceback that are shown; its start and its end if it is longer."""

_OURS = str(Path(__file__).parent)
_LIBRARIES = tuple({*sysconfig.get_paths().values(), sys.prefix, sys.base_prefix, "<frozen "})
_MACHINERY = (f"{_OURS}/", "/IPython/core/", "/ipykernel/")


def describe(error: BaseException) -> str:
    """Return the traceback of `error` without frames of the kernel's and with few of libraries'."""
    report = traceback.TracebackException.from_exception(error, compact=True)
    _trim(report, set())
    try:
        text = "".join(report.format()).rstrip("\n")
    except Exception:  # noqa: BLE001 - str() of somebody's exception may do anything
        text = f"{type(error).__name__} (its message cannot be shown)"
    return cut(text, MOST)


def cut(text: str, most: int) -> str:
    """Return `text`, or its two ends if it is longer than `most` characters."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"


def _trim(report: traceback.TracebackException, seen: set[int]) -> None:
    if id(report) in seen:
        return
    seen.add(id(report))
    frames = [frame for frame in report.stack if not any(part in frame.filename for part in _MACHINERY)]
    last = frames[-1] if frames else None
    kept = [frame for frame in frames if frame is last or not frame.filename.startswith(_LIBRARIES)]
    report.stack = traceback.StackSummary.from_list(kept)
    for other in (report.__cause__, report.__context__, *(getattr(report, "exceptions", None) or ())):
        if other is not None:
            _trim(other, seen)
