"""Figures as data: a matplotlib figure as the picture it draws, a Plotly figure as its JSON."""

from __future__ import annotations

import io
import json
import math
import sys
from typing import Any

from .decode import Picture, PlotlyFigure

_MOST_PIXELS = 16_000_000
"""A larger figure is drawn with fewer dots per inch."""
_FARTHEST = 3
"""With what lies beyond its edge, a picture may be this many times as large."""


def encode_figure(value: Any) -> tuple[str, bytes] | None:
    """Return kind and data of a figure, None for anything else. A library never imported cannot have made one."""
    if isinstance(value, Picture):  # what a child run has drawn
        return "png", value.png
    if isinstance(value, PlotlyFigure):
        return "plotly", json.dumps(value.json).encode()
    if (plotly := sys.modules.get("plotly.basedatatypes")) and isinstance(value, plotly.BaseFigure):
        return "plotly", value.to_json().encode()
    if (matplotlib := sys.modules.get("matplotlib.figure")) and (figure := _figure_of(matplotlib, value)) is not None:
        return "png", _png(figure)
    return None


def put_away(value: Any) -> None:
    """Have a matplotlib figure that is the answer not shown as an output too, as those are that a cell leaves open."""
    matplotlib, pyplot = (sys.modules.get(f"matplotlib.{name}") for name in ("figure", "pyplot"))
    if matplotlib and pyplot and (figure := _figure_of(matplotlib, value)) is not None:
        pyplot.close(figure)


def _figure_of(matplotlib: Any, value: Any) -> Any:
    """Return the figure that `value` is or is drawn on: axes, a sub-figure, seaborn's grids."""
    while value is not None and not isinstance(value, matplotlib.Figure):
        above = getattr(value, "figure", None)
        value = above if above is not value and isinstance(above, matplotlib.FigureBase) else None
    return value


def _png(figure: Any) -> bytes:
    """Draw a figure as notebooks do, with labels beyond its edge; without those that would make it a poster."""
    width, height = figure.get_size_inches()
    dots = min(figure.dpi, math.sqrt(_MOST_PIXELS / (width * height)))
    box = figure.get_tightbbox()
    near = box.width * box.height <= _FARTHEST * width * height
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dots, bbox_inches="tight" if near else None)
    return buffer.getvalue()
