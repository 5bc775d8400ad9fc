"""A zygote for many pools of kernels: to start one takes half a second of a processor, and most tests open a pool."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from kowalski_jupyter.kernels.sandbox import Python
from kowalski_jupyter.kernels.zygote import Zygote, ZygoteError

_WHERE = "kowalski_jupyter.kernels.pool.Zygote"
"""Where a pool looks for the kind of zygote that it starts."""


class Lent(Zygote):
    """One that outlives the pools that fork from it: each closes its kernels by itself."""

    async def start(self) -> None:
        """Start it, once. Later it may be another loop that asks."""
        if self._process is None:
            await super().start()

    async def close(self) -> None:
        """Stay: `end` ends it."""

    async def end(self) -> None:
        self._started = None  # of a loop that is gone
        await super().close()


@contextmanager
def lent_zygote() -> Iterator[Callable[[Python], Zygote]]:
    """What gives pools the one zygote, and a new one where it is dead or of another Python."""
    python = Python.probe(sys.executable)
    lent = Lent(python)
    with suppress(ZygoteError):  # where none can be had, pools find it out by themselves
        asyncio.run(lent.start())
    yield lambda wanted: lent if wanted == python and lent.process and lent.alive else Zygote(wanted)
    asyncio.run(lent.end())


@pytest.fixture(autouse=True)
def one_zygote(zygote: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all pools fork from one zygote, in the folders whose conftest.py imports this."""
    monkeypatch.setattr(_WHERE, zygote)
