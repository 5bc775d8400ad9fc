"""Who writes a run, and whether it still can: a store of a process that runs."""

from __future__ import annotations

import itertools
import os

import psutil

_CLOCK_SLACK = 5.0
"""Seconds by which a process's start may seem to move, since the system derives it from a clock that is corrected."""

_numbers = itertools.count(1)
_open: set[str] = set()


def new_writer() -> str:
    """Return a name that no other writer will have, here or in another process."""
    name = f"{os.getpid()} {psutil.Process().create_time():.2f} {next(_numbers)}"
    _open.add(name)
    return name


def close_writer(name: str) -> None:
    """Say that a writer of this process will write no more."""
    _open.discard(name)


def is_alive(name: str) -> bool:
    """Return whether a writer may still write: it is open, and its process runs."""
    try:
        pid, started, _ = name.split()
        process = psutil.Process(int(pid))
        same = abs(process.create_time() - float(started)) < _CLOCK_SLACK and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ValueError):
        return False
    return same and (int(pid) != os.getpid() or name in _open)
