"""Figures as answers."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from kowalski_jupyter.kernels.values import Picture

from .support import opened


def size_of(picture: Any) -> tuple[int, int]:
    assert isinstance(picture, Picture)
    assert picture._repr_png_().startswith(b"\x89PNG")
    width, height = struct.unpack_from(">II", picture.png, 16)
    assert repr(picture) == f"<Picture, {width} x {height} pixels>"
    return width, height


def test_matplotlib_figures_and_what_is_drawn_on_them(root: Path) -> None:
    async def scenario() -> None:
        draw = "import matplotlib.pyplot as plt\nfigure, axes = plt.subplots(figsize=(4, 3))\naxes.plot([1, 3, 2])\n"
        for number, (what, kind) in enumerate({"figure": "Figure", "axes": "Axes"}.items()):
            async with opened(root / str(number)) as session:
                assert (await session(f"{draw}FINAL({what})")).status == "final", session.text()
                assert session.outputs == []
                (answer,) = session.run.answers
                assert (answer.kind, answer.type) == ("png", kind)
                width, height = size_of(session.run.value)
                assert 300 < width < 500
                assert 200 < height < 400

    asyncio.run(scenario())


def test_a_figure_as_large_as_a_poster_is_drawn_smaller(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            draw = "import matplotlib.pyplot as plt\nfigure, axes = plt.subplots(figsize=(100, 50), dpi=200)\n"
            result = await session(f"{draw}figure.text(0, 30, 'far away')\nFINAL(figure)")
            assert result.status == "final", session.text()
            width, height = size_of(session.run.value)
            assert 15e6 < width * height < 17e6

    asyncio.run(scenario())


def test_plotly_figures(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            draw = "import plotly.graph_objects as go\nfigure = go.Figure(go.Bar(y=[1, 2]), layout={'title': 'Two'})\n"
            assert (await session(f"{draw}FINAL(figure)")).status == "final", session.text()
            (answer,) = session.run.answers
            assert answer.kind == "plotly"
            figure = session.run.value
            assert isinstance(figure, go.Figure)
            assert (list(figure.data[0].y), figure.layout.title.text) == ([1, 2], "Two")

    asyncio.run(scenario())


def test_a_child_runs_figure_is_an_answer_too(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:  # whose child runs answer with their context
            draw = "import matplotlib.pyplot as plt\nfigure = plt.figure(figsize=(4, 3))\n"
            result = await session(f"{draw}picture = rlm_query('Draw.', figure)\nFINAL(picture)")
            assert result.status == "final", session.text()
            assert size_of(session.run.value)

    asyncio.run(scenario())


def test_a_figure_within_something_else_is_refused(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            result = await session("import matplotlib.pyplot as plt\nFINAL({'figure': plt.figure()})")
            assert result.reason == "TypeError"
            assert "by itself, a matplotlib or Plotly figure" in session.text("error")

    asyncio.run(scenario())
