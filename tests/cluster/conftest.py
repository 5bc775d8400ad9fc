"""Fixtures for clusters: recorded states, and nothing left behind."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

CAPTURES = Path(__file__).parent / "captures"


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """After each test: no child process, no thread and no socket more than before."""

    def state() -> tuple[set[int], int, int]:
        process = psutil.Process()
        children = {child.pid for child in process.children(recursive=True)}
        return children, threading.active_count(), len(process.net_connections())

    before = state()
    yield
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        children, threads, sockets = state()
        if children <= before[0] and threads <= before[1] and sockets <= before[2]:
            return
        time.sleep(0.01)
    raise AssertionError(f"left behind: {state()}, before: {before}")


@pytest.fixture
def capture() -> Callable[[str], Any]:
    """A function that reads a capture of exo, anew each time."""
    return lambda name: json.loads((CAPTURES / name).read_text())
