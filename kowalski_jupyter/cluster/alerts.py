"""What the user should know about a device or a model, as records with words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AlertKind = Literal["device lost", "device back", "memory short", "hot", "instance failed", "master changed"]
Level = Literal["info", "warning", "error"]


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
