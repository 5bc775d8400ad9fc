"""Looks for what a test has left behind."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


@contextmanager
def nothing_more(seconds: float = 60.0, *, sockets_of: str = "all") -> Iterator[None]:
    """Afterwards there is no child process, no thread and no socket (of that kind, see psutil) more than before."""

    def state() -> tuple[set[int], int, int]:
        process = psutil.Process()
        children = {child.pid for child in process.children(recursive=True)}
        return children, threading.active_count(), len(process.net_connections(sockets_of))

    before = state()
    yield
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        children, threads, sockets = state()
        if children <= before[0] and threads <= before[1] and sockets <= before[2]:
            return
        time.sleep(0.01)
    raise AssertionError(f"left behind: {state()}, before: {before}")


def is_owned(folder: Path) -> bool:
    """Return whether a folder belongs to a living process; see `kowalski_jupyter.kernels.folders`."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
