"""What the user should know about a device or a model, as records with words."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal

AlertKind = Literal["device lost", "device back", "memory short", "hot", "instance failed", "master changed"]
Level = Literal["info", "warning", "error"]

_MOST: Final = 100
_KEEP_SECONDS: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that happened, or that goes on.

    Attributes:
        kind: what it is.
        level: how bad it is.
        subject: id of the device, instance or cluster.
        text: one sentence for the user.
        since: when it began, in seconds since the epoch.
        until: when it ended; None while it goes on.
    """

    kind: AlertKind
    level: Level
    subject: str
    text: str
    since: float
    until: float | None = None


class AlertBook:
    """The alerts of the last 24 hours, at most 100."""

    def __init__(self) -> None:
        self._open: dict[tuple[AlertKind, str], Alert] = {}
        self._past: list[Alert] = []

    def raise_(self, kind: AlertKind, level: Level, subject: str, text: str) -> None:
        """Note that something goes on; nothing if that is known already."""
        self._open.setdefault((kind, subject), Alert(kind, level, subject, text, time.time()))

    def happened(self, kind: AlertKind, level: Level, subject: str, text: str) -> None:
        """Note something that was over when it had happened."""
        now = time.time()
        self._keep(Alert(kind, level, subject, text, now, now))

    def clear(self, kind: AlertKind, subject: str) -> None:
        """Note that something is over, if it did go on."""
        alert = self._open.pop((kind, subject), None)
        if alert is not None:
            self._keep(dataclasses.replace(alert, until=time.time()))

    def clear_others(self, kind: AlertKind, still: Collection[str]) -> None:
        """Note that it is over for all subjects that are not in `still`."""
        for known, subject in list(self._open):
            if known == kind and subject not in still:
                self.clear(kind, subject)

    def all(self) -> tuple[Alert, ...]:
        """Return all alerts: those that go on first, then the newest first."""
        oldest = time.time() - _KEEP_SECONDS
        self._past = [alert for alert in self._past if (alert.until or 0.0) > oldest]
        going = sorted(self._open.values(), key=lambda alert: -alert.since)
        return (*going, *reversed(self._past))

    def _keep(self, alert: Alert) -> None:
        self._past = [*self._past, alert][-_MOST:]
