"""Which process writes a run, and whether it still lives."""

from __future__ import annotations

import functools
import os

import psutil

_CLOCK_SLACK = 5.0
"""Seconds by which a process's start may seem to move, since the system derives it from a clock that is corrected."""


def this_process() -> str:
    """Return a name for this process that no other one will have."""
    return _name(os.getpid())


def is_alive(name: str) -> bool:
    """Return whether the process of that name still runs."""
    pid, _, started = name.partition(" ")
    try:
        process = psutil.Process(int(pid))
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - float(started)) < _CLOCK_SLACK
    except (psutil.Error, ValueError):
        return False


@functools.cache
def _name(pid: int) -> str:
    return f"{pid} {psutil.Process(pid).create_time():.2f}"
