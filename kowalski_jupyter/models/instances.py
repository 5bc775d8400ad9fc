"""What is loaded in an exo cluster, as its state says it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

Sharding = Literal["pipeline", "tensor", ""]
"""How a model is spread: layers over devices, each layer over all, or in a way that we have no name for."""

_SHARDINGS: Final[dict[str, Sharding]] = {"PipelineShardMetadata": "pipeline", "TensorShardMetadata": "tensor"}
_SERVING: Final = {"Ready", "Running"}
_ERROR_LENGTH: Final = 300


@dataclass(frozen=True, slots=True)
class Runner:
    """The part of an instance that is on one device.

    Attributes:
        node: the device's id.
        state: exo's word without its prefix, ``Idle``, ``Loading``, ``WarmingUp``, ``Ready``, ``Running``, ``Failed``
            …; empty if the cluster does not say.
        layers_loaded: while it loads; else 0.
        layers: of that device's share, while it loads; else 0.
        error: the first line of what went wrong; else empty.
    """

    node: str
    state: str = ""
    layers_loaded: int = 0
    layers: int = 0
    error: str = ""

    @property
    def serving(self) -> bool:
        """Whether it takes requests."""
        return self.state in _SERVING


@dataclass(frozen=True, slots=True)
class Instance:
    """One model loaded, or being loaded, over some devices.

    Attributes:
        id: exo's name for it; empty if it has none.
        model: the id that a request asks for.
        runners: one per device.
        context_tokens: the model's window, if known.
        sharding: how it is spread over the devices.
        size: of the model's weights, in bytes; 0 if unknown.
    """

    id: str
    model: str
    runners: tuple[Runner, ...] = ()
    context_tokens: int | None = None
    sharding: Sharding = ""
    size: int = 0

    @property
    def nodes(self) -> tuple[str, ...]:
        """Ids of the devices that it is on."""
        return tuple(runner.node for runner in self.runners)

    @property
    def ready(self) -> bool:
        """Whether all of its runners take requests. Whether their devices still live is another question."""
        return bool(self.runners) and all(runner.serving for runner in self.runners)

    @property
    def failed(self) -> str:
        """What went wrong on one of its devices, or an empty string."""
        return next((runner.error or "failed" for runner in self.runners if runner.state == "Failed"), "")

    @property
    def loaded(self) -> float:
        """How much of it is loaded, from 0 to 1."""
        if not self.runners:
            return 0.0
        return sum(_share(runner) for runner in self.runners) / len(self.runners)


def _share(runner: Runner) -> float:
    if runner.serving or runner.state in {"Loaded", "WarmingUp"}:
        return 1.0
    return min(1.0, runner.layers_loaded / runner.layers) if runner.layers else 0.0


def read_instances(instances: object, runners: object) -> list[Instance]:
    """Read ``/state/instances`` and ``/state/runners``: the ready ones first, unreadable ones left out.

    An instance is an object with one key, its class: ``{"MlxRingInstance": {…}}``. Its runners are those that it
    names; `runners` also holds those of instances long gone.
    """
    states = runners if isinstance(runners, dict) else {}
    found = []
    for key, instance in (instances if isinstance(instances, dict) else {}).items():
        for body in values(instance):
            shards = body.get("shardAssignments")
            model = shards.get("modelId") if isinstance(shards, dict) else None
            if not isinstance(shards, dict) or not isinstance(model, str):
                continue
            own = shards.get("nodeToRunner")
            kind, card = _shard(shards.get("runnerToShard"))
            found.append(
                Instance(
                    id=key,
                    model=model,
                    runners=tuple(_runner(node, states.get(runner)) for node, runner in _pairs(own)),
                    context_tokens=whole(card.get("contextLength")) or None,
                    sharding=_SHARDINGS.get(kind, ""),
                    size=size(card.get("storageSize")),
                )
            )
    return sorted(found, key=lambda instance: not instance.ready)


def _runner(node: str, tagged: object) -> Runner:
    kind, body = tag(tagged)
    error = body.get("errorMessage")
    return Runner(
        node,
        kind.removeprefix("Runner"),
        whole(body.get("layersLoaded")),
        whole(body.get("totalLayers")),
        error.strip().partition("\n")[0][:_ERROR_LENGTH] if isinstance(error, str) else "",
    )


def _shard(shards: object) -> tuple[str, dict[str, Any]]:
    """Return the class and the model card of the first shard that has one."""
    for tagged in values(shards):
        kind, body = tag(tagged)
        card = body.get("modelCard")
        if isinstance(card, dict):
            return kind, card
    return "", {}


def _pairs(mapping: object) -> Iterator[tuple[str, str]]:
    for key, value in (mapping if isinstance(mapping, dict) else {}).items():
        if isinstance(value, str):
            yield key, value


def tag(tagged: object) -> tuple[str, dict[str, Any]]:
    """Return the class and the body of one of exo's tagged objects, ``{"RunnerReady": {…}}``; empty if it is none."""
    if isinstance(tagged, dict) and len(tagged) == 1:
        ((kind, body),) = tagged.items()
        return kind, body if isinstance(body, dict) else {}
    return "", {}


def values(mapping: object) -> Iterator[dict[str, Any]]:
    """Give the values of a mapping that are objects."""
    if isinstance(mapping, dict):
        yield from (value for value in mapping.values() if isinstance(value, dict))


def whole(value: object) -> int:
    """Return a number from JSON as an int; 0 if it is none, or below."""
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1 << 63 else 0


def size(value: object) -> int:
    """Return one of exo's amounts of memory, ``{"inBytes": n}``, in bytes; 0 if it is none."""
    return whole(value.get("inBytes", value.get("in_bytes"))) if isinstance(value, dict) else 0
