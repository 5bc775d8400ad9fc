"""The status as the browser gets it: the service's own, with child runs, which the panel shows below their parents."""

from __future__ import annotations

from typing import Any

from kowalski_jupyter.service.service import Service

_CHILDREN_SHOWN = 100
"""A run may start thousands: the newest are enough to follow it. Each can be opened from the sub-call it answers."""


def browser_status(service: Service) -> dict[str, Any]:
    """Return an `IStatus` (docs/run-format.md)."""
    status = service.status()
    children = [live for live in service.runs.values() if live.parent][-_CHILDREN_SHOWN:]
    return {**status, "runs": [*status["runs"], *(child.summary() for child in children)]}
