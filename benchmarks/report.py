"""The figures as Markdown: medians with minima, ratios to ours, targets met or missed."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from statistics import median

from benchmarks.implementations import OURS, Implementation
from benchmarks.scenarios import Figure

Values = Mapping[Figure, Mapping[str, Sequence[float]]]


def to_markdown(values: Values, measured: Sequence[Implementation], *, rounds: int) -> str:
    """Return the report.

    Args:
        values: for each figure, each implementation's values by its name.
        measured: the implementations.
        rounds: how often each was measured.
    """
    names = [each.name for each in measured]
    peers = [name for name in names if name != OURS.name]
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    how = f"median (minimum) of {rounds} rounds, in each round all in turn; load {os.getloadavg()[0]:.1f} at the end."
    head = ["", *names, *(f"{peer} / ours" for peer in peers), "target of ours", ""]
    return "\n".join(
        [
            f"{machine}; {how}",
            "",
            *(f"- {each.name}: {each.what}" for each in measured),
            "",
            "| " + " | ".join(head) + " |",
            "|---" * len(head) + "|",
            *("| " + " | ".join(_row(figure, values[figure], names, peers)) + " |" for figure in values),
        ]
    )


def _row(
    figure: Figure, measured: Mapping[str, Sequence[float]], names: Sequence[str], peers: Sequence[str]
) -> list[str]:
    ours = median(measured[OURS.name]) if OURS.name in measured else None
    ratios = [f"{median(measured[peer]) / ours:.1f}" if ours and peer in measured else "-" for peer in peers]
    row = [figure.name, *(_cell(measured.get(name, ()), figure.unit) for name in names), *ratios]
    if figure.target is None or ours is None:
        return [*row, "", ""]
    return [*row, f"{figure.target:g} {figure.unit}", _verdict(measured[OURS.name], figure.target)]


def _verdict(values: Sequence[float], target: float) -> str:
    if median(values) <= target:
        return "met"
    return "**missed** (minimum meets it)" if min(values) <= target else "**missed**"


def _cell(values: Sequence[float], unit: str) -> str:
    return f"{median(values):.3g} ({min(values):.3g}) {unit}" if values else "-"
