"""Devices, alerts and models as JSON (docs/run-format.md), for the browser, the notebook and the API."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any, Final

from kowalski_jupyter.cluster.catalogue import KnownModel
from kowalski_jupyter.cluster.cluster import Cluster
from kowalski_jupyter.cluster.health import device_name
from kowalski_jupyter.cluster.history import FIELDS
from kowalski_jupyter.cluster.snapshot import DeviceHealth, InstanceHealth, Snapshot

_ALERTS_SHOWN: Final = 20


def devices_document(snapshot: Snapshot) -> dict[str, Any]:
    """Return an `IDevices`."""
    devices = sorted(snapshot.devices.values(), key=lambda each: (device_name(each.device).lower(), each.device.id))
    return {
        "devices": [_device(each, snapshot) for each in devices],
        "alerts": [dataclasses.asdict(alert) for alert in snapshot.alerts[:_ALERTS_SHOWN]],
    }


def trends_document(cluster: Cluster, seconds: float) -> dict[str, dict[str, list[float | None]]]:
    """Return how each device was over the last `seconds`, by its id and by field; what is not known is left out."""
    return {key: _trends(cluster, health, seconds) for key, health in cluster.snapshot.devices.items()}


def instance_document(health: InstanceHealth, devices: Mapping[str, DeviceHealth]) -> dict[str, Any]:
    """Return an `IInstance`."""
    instance = health.instance
    return {
        "id": instance.id,
        "model": instance.model,
        "state": "ready" if health.ready else "failed" if instance.failed else "waiting",
        "detail": health.problem,
        "sharding": instance.sharding,
        "devices": [device_name(devices[node].device) for node in instance.nodes if node in devices],
        "ours": health.ours,
        "others": health.others,
        "queued": health.queued,
        "tokens_per_second": health.tokens_per_second,
    }


def model_document(model: KnownModel) -> dict[str, Any]:
    """Return an `IKnownModel`."""
    return dataclasses.asdict(model)


def _trends(cluster: Cluster, health: DeviceHealth, seconds: float) -> dict[str, list[float | None]]:
    found = {field: cluster.trend(health, field, seconds) for field in FIELDS}
    return {field: values for field, values in found.items() if any(value is not None for value in values)}


def _device(health: DeviceHealth, snapshot: Snapshot) -> dict[str, Any]:
    device = health.device
    on_it = [each for each in snapshot.instances.values() if device.id in each.instance.nodes]
    return {
        "id": device.id,
        "name": device_name(device),
        "model": device.model,
        "chip": device.chip,
        "condition": health.condition,
        "url": health.url,
        "memory_total": device.memory_total,
        "memory_available": device.memory_available,
        "disk_available": device.disk_available,
        "load": health.load,
        "temperature": device.temperature,
        "power": device.power,
        "round_trip": health.round_trip,
        "unheard": _unheard(health),
        "limits": [word for word, holds in (("memory", health.low_memory), ("battery", health.battery)) if holds],
        "instances": [instance_document(each, snapshot.devices) for each in on_it],
    }


def _unheard(health: DeviceHealth) -> float | None:
    """Return for how long a device has not been heard of, in seconds."""
    if health.lost_since is not None:
        return round(time.time() - health.lost_since + (health.staleness or 0.0), 1)
    return None if health.staleness is None else round(max(0.0, health.staleness), 1)
