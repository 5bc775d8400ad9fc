"""The devices as figures for Prometheus, on Jupyter's own metrics endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kowalski_jupyter.cluster.health import device_name
from kowalski_jupyter.cluster.snapshot import DeviceHealth, InstanceHealth
from kowalski_jupyter.service.service import Service

_DEVICE = ("device", "name")
_INSTANCE = ("instance", "model")


class Metrics(Collector):
    """Collected whenever the endpoint is asked, from what is known then; between that it costs nothing."""

    def __init__(self, service: Service) -> None:
        self._service = service
        REGISTRY.register(self)

    def close(self) -> None:
        """Take the figures back."""
        REGISTRY.unregister(self)

    def describe(self) -> list[Metric]:
        """Name nothing beforehand: what there is depends on the devices."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Give all figures."""
        snapshot = self._service.cluster.snapshot
        yield from _of_devices(list(snapshot.devices.values()))
        yield from _of_instances(list(snapshot.instances.values()))
        masters = GaugeMetricFamily("kowalski_cluster_sessions", "Masters that a cluster has had.", labels=("cluster",))
        for key, cluster in snapshot.clusters.items():
            masters.add_metric((key,), cluster.session + 1)
        yield masters
        waiting = GaugeMetricFamily(
            "kowalski_requests_waiting", "Requests that wait here until a model has room for them."
        )
        waiting.add_metric((), self._service.router.dispatcher.waiting)
        yield waiting


def _of_devices(devices: list[DeviceHealth]) -> Iterator[Metric]:
    figures: Mapping[str, tuple[str, Callable[[DeviceHealth], float | None]]] = {
        "up": ("Whether the device is in its cluster and heard of.", lambda each: float(each.condition == "ok")),
        "memory_total_bytes": ("Memory of the device.", lambda each: each.device.memory_total),
        "memory_available_bytes": ("Memory that a model may take.", lambda each: each.device.memory_available),
        "disk_available_bytes": ("Room for models.", lambda each: each.device.disk_available),
        "load_ratio": ("Use of the busier of CPU and GPU, 0 to 1.", lambda each: each.load),
        "temperature_celsius": ("Temperature of the GPU.", lambda each: each.device.temperature),
        "power_watts": ("Power of the whole device.", lambda each: each.device.power),
        "round_trip_seconds": ("Time of a small question to the device.", lambda each: each.round_trip),
        "staleness_seconds": ("Time since its master heard of it.", lambda each: each.staleness),
    }
    for name, (words, read) in figures.items():
        family = GaugeMetricFamily(f"kowalski_device_{name}", words, labels=_DEVICE)
        for each in devices:
            if (value := read(each)) is not None:
                family.add_metric((each.device.id, device_name(each.device)), value)
        yield family


def _of_instances(instances: list[InstanceHealth]) -> Iterator[Metric]:
    figures: Mapping[str, tuple[str, Callable[[InstanceHealth], float | None]]] = {
        "ready": ("Whether the instance takes requests.", lambda each: float(each.ready)),
        "requests_ours": ("Requests of this server, running and queued.", lambda each: each.ours),
        "requests_others": ("Requests of other clients, running and queued.", lambda each: each.others),
        "tokens_per_second": ("Speed of one reply, smoothed.", lambda each: each.tokens_per_second),
    }
    for name, (words, read) in figures.items():
        family = GaugeMetricFamily(f"kowalski_instance_{name}", words, labels=_INSTANCE)
        for each in instances:
            if (value := read(each)) is not None:
                family.add_metric((each.instance.id, each.instance.model), value)
        yield family
