"""Cells that models really write, and what they mean for the run."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from .support import opened

CASES = json.loads((Path(__file__).parent / "kernel_cases.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_case(case: dict[str, Any], root: Path) -> None:
    async def scenario() -> None:
        async with opened(root, {"context": "some text"}) as session:
            results = [await session(cell) for cell in case["cells"]]
            if case["expect_final"] is None:
                assert not session.run.answers
                assert results[-1].status in {"ok", "error"}
                assert (await session("1 + 1")).status == "ok"
            else:
                assert results[-1].status == "final"
                assert session.run.value == case["expect_final"]
                assert type(session.run.value) is type(case["expect_final"])

    asyncio.run(scenario())
