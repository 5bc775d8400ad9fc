"""Fixtures for the simulator: nothing may be left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import psutil
import pytest


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """After each test: no child process, no thread and no socket more than before."""

    def state() -> tuple[set[int], int, int]:
        process = psutil.Process()
        children = {child.pid for child in process.children(recursive=True)}
        return children, threading.active_count(), len(process.net_connections("all"))

    before = state()
    yield
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        children, threads, sockets = state()
        if children <= before[0] and threads <= before[1] and sockets <= before[2]:
            return
        time.sleep(0.01)
    raise AssertionError(f"left behind: {state()}, before: {before}")
