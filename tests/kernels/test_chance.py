"""What code leaves to chance is the same in each kernel, or a run could not be gone through again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kowalski_jupyter.kernels.pack import pack

from .support import FakeRun, Session, opened

SET = "list({'apple', 'pear', 'plum', 'fig', 'kiwi'})"
CHANCES = "import random, numpy as np\n[random.random(), np.random.rand(), np.random.randint(1000)]"


@pytest.mark.parametrize("way", [{}, {"forks": False}, {"unsandboxed": True}], ids=["forked", "cold", "unsandboxed"])
def test_sets_and_global_generators_are_the_same_in_each_process(root: Path, way: dict[str, Any]) -> None:
    async def scenario() -> None:
        found = []
        for number, seed in enumerate((7, 7, 8)):
            async with opened(root / str(number), **way) as session:
                kernel = await session.pool.acquire("python", data=(), calls=FakeRun(), seed=seed)
                other = Session(kernel, session.run, session.pool)
                found.append((await other.value(SET), await other.value(CHANCES)))
        first, same, different = found
        assert first == same
        assert first[0] == different[0]
        assert first[1] != different[1]

    asyncio.run(scenario())


def test_numpy_is_seeded_where_the_data_has_brought_it(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            bare = await session.pool.acquire("python", data=(), calls=FakeRun(), seed=7)
            with_array = await session.pool.acquire(
                "python", data=[pack("a", np.arange(3), root / "packs")], calls=FakeRun(), seed=7
            )
            results = [await Session(kernel, session.run, session.pool).value(CHANCES) for kernel in (bare, with_array)]
            assert results[0] == results[1]

    asyncio.run(scenario())


def test_modules_are_not_taken_from_the_folder_of_a_kernel(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            assert await session.value("import sys\n[sys.flags.safe_path, sys.flags.no_user_site]") == "[True, 1]"

    asyncio.run(scenario())
