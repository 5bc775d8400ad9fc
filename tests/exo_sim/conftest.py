"""Fixtures for the simulator: nothing may be left behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.leaks import nothing_more


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """After each test: no child process, no thread and no socket more than before."""

    with nothing_more():
        yield
