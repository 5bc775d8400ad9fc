"""Chooses among the ways in which exo could place a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from kowalski_jupyter.models.base import ModelRefusedError
from kowalski_jupyter.models.instances import Instance, read_instances

Spread = Literal["auto", "pipeline", "tensor"]

_SHARDINGS: Final = {"Pipeline": "pipeline", "Tensor": "tensor"}


@dataclass(frozen=True, slots=True)
class Placement:
    """One way to place a model.

    Attributes:
        body: the instance as exo wants it back.
        instance: the same, typed.
        fast: whether its devices would talk over Thunderbolt's direct memory access.
    """

    body: Mapping[str, Any]
    instance: Instance
    fast: bool


def choose(
    previews: Sequence[Mapping[str, Any]],
    model: str,
    spread: Spread = "auto",
    min_nodes: int = 1,
    avoid: frozenset[str] = frozenset(),
) -> Placement:
    """Choose one: on as few devices as will do, since each further one costs a way over the network for each token.

    Over several devices tensors are split where the devices have direct memory access, since the whole is faster
    then; otherwise layers are.

    Args:
        previews: what exo offers.
        model: for the words.
        spread: how the user wants it; ``auto`` to choose.
        min_nodes: devices at least.
        avoid: ids of devices that are left out if that is possible.

    Raises:
        ModelRefusedError: there is no way; the text says why.
    """
    wanted = [each for each in previews if spread in {"auto", _SHARDINGS.get(str(each.get("sharding")))}]
    able = [each for each in _placements(wanted) if len(each.instance.nodes) >= min_nodes]
    if not able:
        raise ModelRefusedError(_why_not(wanted, model, spread, min_nodes))

    def cost(placement: Placement) -> tuple[int, int, bool]:
        instance = placement.instance
        alone = len(instance.nodes) == 1
        tensor = instance.sharding == "tensor"
        return (
            len(avoid & {*instance.nodes}),
            len(instance.nodes),
            tensor if alone or not placement.fast else not tensor,
        )

    return min(able, key=cost)


def _placements(previews: Sequence[Mapping[str, Any]]) -> Iterator[Placement]:
    for preview in previews:
        body = preview.get("instance")
        if not isinstance(body, dict) or preview.get("error"):
            continue
        for tagged in body.values():
            key = tagged.get("instanceId") if isinstance(tagged, dict) else None
            if isinstance(key, str):
                for instance in read_instances({key: body}, {}):
                    yield Placement(body, instance, preview.get("instance_meta") == "MlxJaccl")


def _why_not(previews: Sequence[Mapping[str, Any]], model: str, spread: Spread, min_nodes: int) -> str:
    largest = max((len(each.instance.nodes) for each in _placements(previews)), default=0)
    how = "" if spread == "auto" else f" by {spread}"
    if largest:
        devices = "device" if largest == 1 else "devices"
        return (
            f"{model} cannot be placed{how} on {min_nodes} devices: {largest} {devices} is the most that the cluster "
            "offers for it. Ask for fewer, or bring more devices in."
        )
    said = dict.fromkeys(str(each["error"]).strip().rstrip(".") for each in previews if each.get("error"))
    reasons = "; ".join(said) or "exo offers no way to do it"
    return f"{model} cannot be placed{how}: {reasons}. `%rlm models` lists what fits."
