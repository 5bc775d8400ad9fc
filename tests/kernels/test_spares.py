"""Spares: one of each language that is used, gone when it is not; and which languages there are."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest

from kowalski_jupyter.kernels import installed, spares
from kowalski_jupyter.kernels.child import ChildKernel
from kowalski_jupyter.kernels.installed import Available
from kowalski_jupyter.kernels.pool import KernelPool
from kowalski_jupyter.kernels.spares import Spares

from .languages import need
from .support import FakeRun, until


class Toy:
    """A kernel that is started at once."""

    alive = True

    async def close(self) -> None:
        self.alive = False


def test_a_language_that_is_used_has_a_spare(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("bash")
    monkeypatch.setattr(spares, "REFILL_SECONDS", 0.0)

    async def scenario() -> None:
        pool = KernelPool(root)
        try:
            first = await pool.acquire("bash", data=(), calls=FakeRun())
            await pool.ready("bash")
            (spare,) = pool._kernels - {first}
            run = FakeRun()
            second = await pool.acquire("bash", data=(), calls=run)
            assert second is spare
            await first.execute("x=1", print)
            assert (await second.execute('FINAL "$x-$(llm_query a)"', print)).status == "final"
            assert run.value == "-reply to a"
        finally:
            await pool.close()

    asyncio.run(scenario())


def test_spares_that_nobody_wants_are_closed_until_somebody_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spares, "REFILL_SECONDS", 0.0)
    started: list[Toy] = []

    async def start() -> ChildKernel:
        started.append(Toy())
        return cast("ChildKernel", started[-1])

    async def scenario() -> None:
        kept = Spares(start, count=2, idle_seconds=0.05)
        taken = await kept.take()
        await until(lambda: len(started) == 3 and not any(kernel.alive for kernel in started[1:]))
        assert taken.alive
        again = await kept.take()
        assert again.alive
        assert len(started) == 4
        await kept.close()

    asyncio.run(scenario())


def test_a_start_that_fails_is_told_once_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spares, "REFILL_SECONDS", 0.0)
    attempts = 0

    async def start() -> ChildKernel:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise RuntimeError("no memory")
        return cast("ChildKernel", Toy())

    async def scenario() -> None:
        kept = Spares(start, count=1)
        await kept.ready()
        with pytest.raises(RuntimeError, match="no memory"):
            await kept.take()
        await kept.ready()
        assert (await kept.take()).alive
        assert attempts == 2
        await kept.close()

    asyncio.run(scenario())


def test_kernels_are_looked_for_again_only_when_something_was_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "kernels"
    folder.mkdir()
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    looks: list[object] = []

    def look(chosen: object) -> tuple[str, ...]:
        looks.append(chosen)
        return ("python", *(["bash"] if any(folder.iterdir()) else []))

    monkeypatch.setattr(installed, "available", look)

    async def scenario() -> None:
        known = Available({})
        assert [await known.get() for _ in range(3)] == [("python",)] * 3
        assert len(looks) == 1
        (folder / "mine").mkdir()
        assert await known.get() == ("python", "bash")
        assert len(looks) == 2
        await known.close()

    asyncio.run(scenario())
