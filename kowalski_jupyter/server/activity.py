"""Keeps a server alive that would shut itself down, or be culled, as idle while a run goes on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from kowalski_jupyter.service.service import Service


class Activity:
    """Notes every change of a run as activity of the server.

    jupyter_server takes the latest of ``settings["last_activity_times"]`` for its own idle time-out and
    reports it to a hub's culler.
    """

    def __init__(self, service: Service, settings: dict[str, Any]) -> None:
        self._times: dict[str, datetime] = settings.setdefault("last_activity_times", {})
        self._unwatch = service.watch(self._note)

    def close(self) -> None:
        """Stop watching."""
        self._unwatch()

    def _note(self) -> None:
        self._times["kowalski"] = datetime.now(tz=UTC)
