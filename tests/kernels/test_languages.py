"""Every language: cells, errors, limits, data, and the way to the run, in real kernels in their sandbox."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pandas as pd
import pytest

from kowalski_jupyter.kernels.base import Limits, Value
from kowalski_jupyter.kernels.languages import FOREIGN

from .languages import WORDS, need
from .support import FakeRun, opened

DATA = {
    "notes": "an apple\nzwei Äpfel",
    "table": pd.DataFrame({"city": ["Oslo", "Bern"], "people": [700, 130]}),
    "data": {"name": "n", "list": [1, 2, 3]},
}


@pytest.fixture(params=FOREIGN)
def language(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    need(name)
    return name


def test_cells(language: str, root: Path) -> None:
    async def scenario() -> None:
        run = FakeRun()
        run.shelf["from python"] = Value("json", "dict", "", b'{"k": 7}')
        async with opened(root, DATA, run=run, language=language) as session:
            assert session.kernel.language == language
            assert session.kernel.sandbox.startswith("bubblewrap")
            for name, cell in WORDS[language].cells.items():
                result = await session(cell.code)
                text = session.text()
                assert (result.status, cell.shows in text) == (cell.status, True), f"{name}: {result} {text!r}"
            assert "never" not in session.text()
            assert not session.text("error")
            assert run.value == {"n": [1, 2.5], "$": "ü"}
            assert run.prompts[:1] == ["hi"]
            assert set(run.prompts) >= {"a", "b"}

    asyncio.run(scenario())


def test_a_loop_is_interrupted(language: str, root: Path) -> None:
    words = WORDS[language]

    async def scenario() -> None:
        async with opened(root, language=language, limits=Limits(cell_seconds=20)) as session:
            assert (await session(words.setup)).status == "ok", session.text()
            session.kernel._limits = Limits(cell_seconds=0.5)  # type: ignore[attr-defined]
            result = await session(words.loop)
            if words.keeps:
                assert result.status == "timeout", result
                assert "0.5 s" in result.reason
                session.kernel._limits = Limits(cell_seconds=20)  # type: ignore[attr-defined]
                assert (await session(words.kept)).status == "ok"
                assert "41" in session.text()
            else:
                assert result.status == "died", result
                assert "variables are gone" in result.reason

    asyncio.run(scenario())


def test_a_crash_is_told(language: str, root: Path) -> None:
    async def scenario() -> None:
        async with opened(root, language=language) as session:
            result = await session(WORDS[language].crash)
            assert result.status == "died", (result, session.text())
            assert "variables are gone" in result.reason
            assert (await session("1")).status == "died"

    asyncio.run(scenario())


def test_a_text_of_100_mb_is_counted(language: str, root: Path) -> None:
    big = "abcdefghi\n" * (10 << 20)

    async def scenario() -> None:
        async with opened(root, {"big": big}, language=language, limits=Limits(cell_seconds=120)) as session:
            result = await session(WORDS[language].count)
            assert (result.status, session.text().strip()) == ("ok", str(10 << 20)), (result, session.text())

    asyncio.run(scenario())


def test_a_flood_is_cut_with_its_true_size_told(language: str, root: Path) -> None:
    async def scenario() -> None:
        async with opened(root, language=language, limits=Limits(output=1 << 16, cell_seconds=120)) as session:
            result = await session(WORDS[language].flood)
            assert result.status == "ok", result
            assert "END" in session.text()
            told = sum(len(output.text) + output.omitted for output in session.outputs)
            assert told == 3000 * 1001 + len("END\n")
            assert len(session.text()) < (1 << 16) + (1 << 16)

    asyncio.run(scenario())


def test_without_depth_there_is_nothing_to_ask(language: str, root: Path) -> None:
    async def scenario() -> None:
        async with opened(root, language=language, functions=("helpers",)) as session:
            result = await session(WORDS[language].cells["llm_query"].code)
            assert result.status == "error", (result, session.text())
            assert session.run.prompts == []

    asyncio.run(scenario())


def test_the_run_says_why_it_cannot_answer(language: str, root: Path) -> None:
    async def refuse(_prompt: str) -> str:
        raise ValueError("the budget is used up")

    async def scenario() -> None:
        async with opened(root, language=language, run=FakeRun(reply=refuse)) as session:
            result = await session(WORDS[language].cells["llm_query"].code.split(";")[0])
            assert result.status == "error", (result, session.text())
            assert "the budget is used up" in session.text()

    asyncio.run(scenario())


def test_what_python_shares_is_plain_json(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root, {"table": DATA["table"]}) as session:
            code = "share('t', table); share('s', {1: {2}, 'd': __import__('datetime').date(2026, 1, 2)}); shared('t')"
            assert (await session(code)).status == "ok", session.text()
            assert json.loads(session.run.shelf["t"].data) == [
                {"city": "Oslo", "people": 700},
                {"city": "Bern", "people": 130},
            ]
            assert json.loads(session.run.shelf["s"].data) == {"1": [2], "d": "2026-01-02"}
            assert (await session("share('b', b'\\x00\\xff'); shared('b')")).status == "ok"
            assert session.text("result") == "b'\\x00\\xff'"

    asyncio.run(scenario())
