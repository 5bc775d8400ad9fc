"""The limits of a run and how its model is sampled."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Times in seconds; `*_tokens` in tokens of the model; `output_chars` is what a turn's outputs may take.

    `max_subcalls` of None means a hundred for each request that the model works on at a time.
    """

    max_turns: int = 20
    max_seconds: float = 900.0
    max_subcalls: int | None = None
    seed: int = 0
    temperature: float = 0.2
    reply_tokens: int = 1024
    subcall_tokens: int = 512
    output_chars: int = 2000
