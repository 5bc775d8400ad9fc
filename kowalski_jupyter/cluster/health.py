"""Makes a `Snapshot` of what the watches know, and notes what the user should hear of."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import psutil

from kowalski_jupyter.cluster.alerts import AlertBook
from kowalski_jupyter.cluster.exo.views import Device, Instance
from kowalski_jupyter.cluster.snapshot import ClusterHealth, DeviceHealth, InstanceHealth, Snapshot
from kowalski_jupyter.cluster.traffic import Traffic
from kowalski_jupyter.cluster.watch import Watch
from kowalski_jupyter.models.urls import is_loopback

LOW_MEMORY: Final = 2 << 30
"""Bytes free, below which a device gets small work only."""

_SHORT: Final = 0.05
"""Share of the memory free, below which the user is told."""
_SHORT_OVER: Final = 0.08
_HOT: Final = 90.0
"""Degrees Celsius."""
_HOT_OVER: Final = 82.0
_NAMED: Final = 3
"""Devices that are called by their names in a line."""

_GIB: Final = 1 << 30

_NEW_MASTER: Final = "exo has chosen a new master: every model was unloaded. A run loads again what it needs."

_STATES: Final = {
    "": "its runner has not started",
    "Idle": "its runner has just started",
    "Connecting": "its devices are being connected",
    "Connected": "its devices are connected",
    "Loaded": "warming up",
    "WarmingUp": "warming up",
    "ShuttingDown": "being unloaded",
    "Shutdown": "being unloaded",
}


def take_snapshot(watches: Sequence[Watch], traffic: Traffic, alerts: AlertBook) -> Snapshot:
    """Put together what is known now. Raises and clears alerts on the way."""
    now = time.time()
    devices: dict[str, DeviceHealth] = {}
    instances: dict[str, InstanceHealth] = {}
    for watch in watches:
        for health in _devices(watch):
            known = devices.get(health.device.id)
            # After a partition one half says lost of what the other half has.
            if known is None or known.condition == "lost":
                devices[health.device.id] = health
        instances |= {health.instance.id: health for health in _instances(watch, traffic)}
    traffic.keep_only(set(instances))
    _note_devices(devices, [device for watch in watches for device in watch.returned], alerts)
    _note_instances(instances, alerts)
    for watch in watches:
        if watch.new_master:
            alerts.happened("master changed", "warning", watch.key, _NEW_MASTER)
    clusters = {
        watch.key: ClusterHealth(
            watch.url,
            watch.session,
            watch.since,
            watch.state.index,
            watch.state.tasks,
            watch.tasks_at,
            watch.only_named,
        )
        for watch in watches
    }
    return Snapshot(now, clusters, devices, instances, alerts.all())


def device_name(device: Device) -> str:
    """Return what to call a device."""
    return device.name or device.model or f"device {device.id[:8]}"


def exo_on(devices: Sequence[Device]) -> str:
    """Return what to call exo on these devices: ``exo (studio, mini and 2 more)``."""
    names = [device_name(device) for device in devices]
    if len(names) > _NAMED:
        names = [*names[: _NAMED - 1], f"{len(names) - _NAMED + 1} more"]
    return f"exo ({', '.join(names[:-1])}{' and ' if names[:-1] else ''}{names[-1]})" if names else "exo"


def _devices(watch: Watch) -> Iterator[DeviceHealth]:
    for device in watch.state.devices.values():
        available = device.memory_available
        url = watch.reaches.url(device.id)
        condition = watch.condition(device)
        yield DeviceHealth(
            device,
            watch.key,
            condition,
            url,
            watch.staleness(device),
            watch.reaches.round_trip(device.id),
            max((use for use in (device.gpu, device.cpu) if use is not None), default=None),
            low_memory=available is not None and available < LOW_MEMORY,
            battery=_on_battery(device, url),
            lost_since=watch.lost[device.id][1] if device.id in watch.lost and condition == "lost" else None,
        )
    for node, (device, since) in watch.lost.items():
        if node not in watch.state.devices:
            yield DeviceHealth(device, watch.key, "lost", lost_since=since)


def _on_battery(device: Device, url: str | None) -> bool:
    """Tell whether a device lives on a battery. exo does not say: of other devices only the model tells."""
    if url is not None and is_loopback(url) and (battery := psutil.sensors_battery()) is not None:
        return not battery.power_plugged
    return "macbook" in device.model.lower()


def _instances(watch: Watch, traffic: Traffic) -> Iterator[InstanceHealth]:
    shares = traffic.shares(watch.key, watch.state.instances, watch.state.tasks)
    for key, instance in watch.state.instances.items():
        problem = "" if watch.url else "no device of its cluster answers"
        problem = problem or _problem(instance, watch)
        ours, others = shares[key]
        yield InstanceHealth(instance, watch.key, not problem, problem, ours, others, traffic.speed(key))


def _problem(instance: Instance, watch: Watch) -> str:
    for node in instance.nodes:
        device = watch.state.devices.get(node)
        if device is None or watch.condition(device) == "lost":
            return f"{device_name(device or watch.lost.get(node, (Device(node), 0.0))[0])} is lost"
        if watch.condition(device) == "stale":
            return f"{device_name(device)} has not been heard of for {watch.staleness(device) or 0.0:.0f} s"
    if instance.failed:
        return f"failed: {instance.failed}"
    waiting = next((runner for runner in instance.runners if not runner.serving), None)
    if waiting is None:
        return "" if instance.runners else "it has no runners"
    if waiting.state == "Loading":
        return f"loading, {instance.loaded:.0%}"
    return _STATES.get(waiting.state, waiting.state)


def _note_devices(devices: Mapping[str, DeviceHealth], returned: Sequence[Device], alerts: AlertBook) -> None:
    lost = {key: each for key, each in devices.items() if each.condition == "lost"}
    for key, each in lost.items():
        alerts.raise_("device lost", "error", key, f"{device_name(each.device)} is lost: it does not answer any more.")
    alerts.clear_others("device lost", lost)
    for device in returned:
        alerts.happened("device back", "info", device.id, f"{device_name(device)} is back.")
    there = {key: each.device for key, each in devices.items() if key not in lost}
    _note_memory(there, alerts)
    _note_heat(there, alerts)


def _note_memory(there: Mapping[str, Device], alerts: AlertBook) -> None:
    for key, device in there.items():
        total, free = device.memory_total, device.memory_available
        if not total or free is None:
            continue
        if free < _SHORT * total:
            said = f"{device_name(device)} is short of memory: {free / _GIB:.1f} of {total / _GIB:.0f} GiB are free."
            alerts.raise_("memory short", "warning", key, said)
        elif free > _SHORT_OVER * total:
            alerts.clear("memory short", key)
    alerts.clear_others("memory short", there)


def _note_heat(there: Mapping[str, Device], alerts: AlertBook) -> None:
    for key, device in there.items():
        heat = device.temperature
        if heat is not None and heat >= _HOT:
            alerts.raise_("hot", "warning", key, f"{device_name(device)} is hot: {heat:.0f} °C. It may slow down.")
        elif heat is not None and heat < _HOT_OVER:
            alerts.clear("hot", key)
    alerts.clear_others("hot", there)


def _note_instances(instances: Mapping[str, InstanceHealth], alerts: AlertBook) -> None:
    failed = {key: each for key, each in instances.items() if each.instance.failed}
    for key, each in failed.items():
        said = f"{each.instance.model} failed on its devices: {each.instance.failed}. exo starts it again by itself."
        alerts.raise_("instance failed", "error", key, said)
    alerts.clear_others("instance failed", failed)
