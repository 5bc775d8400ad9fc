"""How much an end suits a request: in seconds until its reply is there, as far as is known, by the user's weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from kowalski_jupyter.models.base import JobKind

SMALL_TOKENS: Final = 2000
"""Tokens of prompt and reply that a request may have to count as small work."""

_BYTES_PER_TOKEN: Final = 3.5
_PREFIX_SAVES: Final = 0.2
"""Of a reply's time, where the end has lately read a prompt that begins alike."""


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each figure counts. 1 takes it as it was measured, 0 leaves it out.

    `speed`: seconds that a reply of its kind takes there. `load`: how full it is. `latency`: the way there and back.
    `staleness`: how long it has not been heard of. `prefix`: whether it has read the beginning of the prompt before.
    """

    speed: float = 1.0
    load: float = 1.0
    latency: float = 1.0
    staleness: float = 1.0
    prefix: float = 1.0

    @classmethod
    def of(cls, given: Mapping[str, float]) -> Weights:
        """Read the user's.

        Raises:
            ValueError: there is none of that name, or it is below 0.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        wrong = [name for name, value in given.items() if name not in names or value < 0]
        if wrong:
            raise ValueError(f"A routing weight is one of {', '.join(names)}, from 0 up; not {wrong[0]!r}.")
        return cls(**given)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is known of a request before it is sent.

    Attributes:
        kind: what it is for.
        size: of its messages, in bytes.
        reply_tokens: the longest reply.
        prefix: names the beginning of its prompt.
        avoid: keys of the ends that have lost it, and get it again only where there is no other.
    """

    kind: JobKind
    size: int
    reply_tokens: int
    prefix: int
    avoid: frozenset[str] = frozenset()

    @property
    def tokens(self) -> int:
        """What it takes of a window at most, about."""
        return round(self.size / _BYTES_PER_TOKEN) + self.reply_tokens

    @property
    def small(self) -> bool:
        """Whether a device that is short of memory, or lives on a battery, may have it."""
        return self.kind == "subcall" and self.tokens <= SMALL_TOKENS


@dataclass(frozen=True, slots=True)
class Figures:
    """What is known of an end when a request is to be sent.

    Attributes:
        seconds: that a reply of this kind takes there; None before the first.
        in_flight: requests that it has, from anybody.
        slots: requests that it works on at a time.
        round_trip: seconds to it and back; None if not known.
        staleness: seconds since it was heard of.
        read: whether it has read the beginning of the prompt.
    """

    seconds: float | None
    in_flight: int
    slots: int
    round_trip: float | None = None
    staleness: float = 0.0
    read: bool = False


def cost(figures: Figures, weights: Weights, typical: float) -> float:
    """Return about how many seconds a reply takes there; `typical` stands for what was never measured."""
    seconds = typical if figures.seconds is None else figures.seconds
    fullness = figures.in_flight / max(1, figures.slots)
    return (
        weights.speed * seconds
        + weights.load * fullness * seconds / 2
        + weights.latency * (figures.round_trip or 0.0)
        + weights.staleness * figures.staleness / 10
        - (weights.prefix * _PREFIX_SAVES * seconds if figures.read else 0.0)
    )


def reasons(figures: Figures) -> str:
    """Say what counted, in words."""
    parts = [
        "replies not measured yet" if figures.seconds is None else f"replies in about {_rounded(figures.seconds)}",
        _places(figures.in_flight, figures.slots),
        "" if figures.round_trip is None else f"{max(1, round(figures.round_trip * 1000))} ms away",
        f"not heard of for {figures.staleness:.0f} s" if figures.staleness >= 2 else "",  # noqa: PLR2004
        "it has read that prompt's beginning" if figures.read else "",
    ]
    return ", ".join(part for part in parts if part)


def _places(in_flight: int, slots: int) -> str:
    if in_flight > slots:
        return f"its {slots} places taken and {in_flight - slots} in reserve"
    return f"{in_flight} of {slots} places taken"


def _rounded(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 9.5 else f"{seconds:.1g} s"  # noqa: PLR2004
