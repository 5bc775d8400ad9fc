"""What exo says about the models that are loaded in its cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

EXO_WIDTH: Final = 8
"""Requests that one exo instance works on at a time; further ones queue (EXO_MAX_CONCURRENT_REQUESTS)."""

_READY: Final = {"RunnerReady", "RunnerRunning"}


@dataclass(frozen=True, slots=True)
class ExoInstance:
    """One model loaded, or being loaded, over some devices."""

    model: str
    context_tokens: int | None
    devices: int
    ready: bool


def read_instances(instances: object, runners: object) -> list[ExoInstance]:
    """Read ``/state/instances`` and ``/state/runners``: the ready ones first, unreadable ones left out.

    An instance is an object with one key, its class: ``{"MlxRingInstance": {…}}``. It is ready if all
    of its own runners are; `runners` also holds those of instances long gone.
    """
    states = {key: next(iter(state), "") for key, state in runners.items()} if isinstance(runners, dict) else {}
    found = []
    for instance in _values(instances):
        for body in _values(instance):
            shards = body.get("shardAssignments")
            model = shards.get("modelId") if isinstance(shards, dict) else None
            if not isinstance(shards, dict) or not isinstance(model, str):
                continue
            own = list((shards.get("nodeToRunner") or {}).values())
            found.append(
                ExoInstance(
                    model=model,
                    context_tokens=_context(shards.get("runnerToShard")),
                    devices=len(own),
                    ready=bool(own) and all(states.get(runner) in _READY for runner in own),
                )
            )
    return sorted(found, key=lambda instance: not instance.ready)


def _context(shards: object) -> int | None:
    for tagged in _values(shards):
        for shard in _values(tagged):
            card = shard.get("modelCard")
            length = card.get("contextLength") if isinstance(card, dict) else None
            if isinstance(length, int) and length > 0:
                return length
    return None


def _values(mapping: object) -> Iterator[dict[str, Any]]:
    if isinstance(mapping, dict):
        yield from (value for value in mapping.values() if isinstance(value, dict))
