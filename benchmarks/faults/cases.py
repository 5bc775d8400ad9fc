"""All cases."""

from __future__ import annotations

from benchmarks.faults import calls, limits, replies, state

CASES = (*state.CASES, *replies.CASES, *calls.CASES, *limits.CASES)
