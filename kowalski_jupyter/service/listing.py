"""The list of runs: those of this service and those of the store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from kowalski_jupyter.service.runs import LiveRun, interrupted
from kowalski_jupyter.service.store.rows import StoredRun


def listing(live: Iterable[LiveRun], stored: Sequence[StoredRun]) -> list[dict[str, Any]]:
    """Return the rows of `IStatus.runs`, newest first, without the runs that other runs have started."""
    rows = {run.id: _row(run) for run in stored}
    for run in live:
        if not run.parent:
            rows[run.id] = run.summary()
    return sorted(rows.values(), key=lambda row: float(row["started"]), reverse=True)


def _row(run: StoredRun) -> dict[str, Any]:
    if run.ended or run.going_on:
        return run.summary
    return {**run.summary, "state": "failed", "error": interrupted(run.id), "resumable": True}
