"""Fixtures for clusters: recorded states, and nothing left behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.leaks import nothing_more

CAPTURES = Path(__file__).parent / "captures"


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """After each test: no child process, no thread and no socket more than before."""

    with nothing_more(sockets_of="inet"):
        yield


@pytest.fixture
def capture() -> Callable[[str], Any]:
    """A function that reads a capture of exo, anew each time."""
    return lambda name: json.loads((CAPTURES / name).read_text())


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """Where the addresses of nodes are remembered; its folder is not there yet."""
    return tmp_path / "state" / "devices.json"
