"""The models that exo knows: which are loaded, which are on a disk, which would fit into memory."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from kowalski_jupyter.cluster.exo.views import Device, Instance
from kowalski_jupyter.models.base import ModelRefusedError
from kowalski_jupyter.models.instances import whole

Loaded = Literal["ready", "loading", ""]

_MEGABYTE: Final = 1 << 20
_NEAR: Final = 5


@dataclass(frozen=True, slots=True)
class KnownModel:
    """One model of the catalogue.

    Attributes:
        id: what a request asks for.
        size: of its weights, in bytes; 0 if unknown.
        context_tokens: its window, if known.
        loaded: whether an instance of it serves, or is on its way.
        downloaded: whether the whole of it is on some device's disk.
        devices: how many devices it takes at least, by their free memory now; None if all together are too small.
        tensor: whether each of its layers can be spread over devices.
        where: the place that has it, in words.
        loadable: whether it can be loaded there on request: exo does, other servers do as they like.
    """

    id: str
    size: int
    context_tokens: int | None
    loaded: Loaded
    downloaded: bool
    devices: int | None
    tensor: bool
    where: str
    loadable: bool = True


def read_catalogue(
    entries: Iterable[Mapping[str, Any]],
    downloaded: Iterable[Mapping[str, Any]],
    instances: Sequence[Instance],
    devices: Iterable[Device],
    where: str,
) -> list[KnownModel]:
    """Put together what is known: the loaded ones first, then those on a disk, then the smaller before the larger.

    Args:
        entries: of ``/v1/models``.
        downloaded: of the same, those that some device has whole.
        instances: of this cluster.
        devices: of this cluster that are there.
        where: this cluster, in words.
    """
    here = {each["id"] for each in downloaded}
    free = sorted((device.memory_available or 0 for device in devices), reverse=True)
    found = []
    for entry in entries:
        tasks = entry.get("tasks")
        if isinstance(tasks, list) and "TextGeneration" not in tasks:
            continue  # images
        bulk = whole(entry.get("storage_size_megabytes")) * _MEGABYTE
        found.append(
            KnownModel(
                entry["id"],
                bulk,
                whole(entry.get("context_length")) or None,
                _loaded(entry["id"], instances),
                entry["id"] in here,
                _devices_for(bulk, free),
                entry.get("supports_tensor") is True,
                where,
            )
        )
    order = {"ready": 0, "loading": 1, "": 2}
    return sorted(found, key=lambda model: (order[model.loaded], not model.downloaded, model.size, model.id))


def full_id(model: str, known: Sequence[str]) -> str:
    """Return a model's id as exo has it; what stands behind the slash will do if it is the only one.

    Raises:
        ModelRefusedError: there is none, or more than one.
    """
    if model in known:
        return model
    same = [each for each in known if each.rpartition("/")[2].lower() == model.lower()]
    if len(same) == 1:
        return same[0]
    if same:
        raise ModelRefusedError(f"{model} may be any of {', '.join(same)}: say which.")
    near = difflib.get_close_matches(model.lower(), [each.lower() for each in known], _NEAR, 0.5)
    meant = [each for each in known if each.lower() in near]
    advice = f"Did you mean {', '.join(meant)}?" if meant else "`%rlm models` lists those it knows."
    raise ModelRefusedError(f"exo does not know a model {model!r}. {advice}")


def _loaded(model: str, instances: Sequence[Instance]) -> Loaded:
    of_it = [instance for instance in instances if instance.model == model]
    if not of_it:
        return ""
    return "ready" if any(instance.ready for instance in of_it) else "loading"


def _devices_for(bulk: int, free: Sequence[int]) -> int | None:
    """Return how many devices, those with most free memory first, hold so many bytes together."""
    for count in range(1, len(free) + 1):
        if sum(free[:count]) >= bulk:
            return count
    return None
