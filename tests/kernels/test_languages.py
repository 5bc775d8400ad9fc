"""Every language: cells, errors, limits, data, and the way to the run, in real kernels in their sandbox."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pandas as pd
import pytest

from kowalski_jupyter.kernels.base import Limits, Value
from kowalski_jupyter.kernels.languages import FOREIGN
from kowalski_jupyter.kernels.languages.java import _version

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
            # What does not heed an interrupt cannot be ended alone by newer versions of Java.
            if words.keeps and (language != "java" or (_version("javac") or 0) < 20):
                assert result.status == "timeout", result
                assert "0.5 s" in result.reason
                session.kernel._limits = Limits(cell_seconds=20)  # type: ignore[attr-defined]
                assert (await session(words.kept)).status == "ok"
                assert "41" in session.text()
                counted = []
                for _ in range(2):
                    assert (await session(words.turns)).status == "ok"
                    counted.append(int(session.text()))
                assert counted[0] == counted[1] > 0, "the interrupted cell goes on"
            else:
                assert result.status == "died", result
                assert "variables are gone" in result.reason

    asyncio.run(scenario())


def test_much_data_much_output_no_reply_and_a_crash(language: str, root: Path) -> None:
    """One after the other in one kernel: to start one takes seconds in some languages."""
    words = WORDS[language]
    data = {"big": "abcdefghi\n" * (10 << 20)}
    limits = Limits(output=1 << 16, cell_seconds=120)

    async def refuse(_prompt: str) -> str:
        raise ValueError("the budget is used up")

    async def scenario() -> None:
        async with opened(root, data, run=FakeRun(reply=refuse), language=language, limits=limits) as session:
            # 100 MB of text are there to the last letter.
            result = await session(words.count)
            assert (result.status, session.text().strip()) == ("ok", str(10 << 20)), (result, session.text())

            # A flood of output is cut, and its true size told.
            result = await session(words.flood)
            assert result.status == "ok", result
            assert "END" in session.text()
            told = sum(len(output.text) + output.omitted for output in session.outputs)
            assert told == 3000 * 1001 + len("END\n")
            assert len(session.text()) < (1 << 16) + (1 << 16)

            # Why the run cannot answer is said.
            result = await session(words.cells["llm_query"].code.split(";")[0])
            assert result.status == "error", (result, session.text())
            assert "the budget is used up" in session.text()

            # A kernel that crashes is told of, and dead.
            result = await session(words.crash)
            assert result.status == "died", (result, session.text())
            assert "variables are gone" in result.reason
            assert (await session("1")).status == "died"

    asyncio.run(scenario())


def test_without_depth_there_is_nothing_to_ask(language: str, root: Path) -> None:
    async def scenario() -> None:
        async with opened(root, language=language, functions=("helpers",)) as session:
            result = await session(WORDS[language].cells["llm_query"].code)
            assert result.status == "error", (result, session.text())
            assert session.run.prompts == []

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
            code = "import pandas; share('m', [pandas.NaT, pandas.NA]); shared('m')"
            assert await session.value(code) == "[None, None]"
            assert (await session("share('b', b'\\x00\\xff'); shared('b')")).status == "ok"
            assert session.text("result") == "b'\\x00\\xff'"

    asyncio.run(scenario())
