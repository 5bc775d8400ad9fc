"""Devices as the browser and Prometheus see them, in a real Jupyter server that watches a simulated cluster."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import HTTPClientError

from kowalski_jupyter.exo_sim import Simulation
from tests.support.simulated import simulated

Fetch = Callable[..., Any]


@pytest.fixture
def cluster() -> Iterator[Simulation]:
    with simulated() as sim:
        yield sim


@pytest.fixture
def jp_server_config(cluster: Simulation, tmp_path: Path) -> dict[str, Any]:
    settings = {"devices": [cluster.url], "data_root": str(tmp_path / "runs"), "spares": 0}
    return {"ServerApp": {"jpserver_extensions": {"kowalski_jupyter": True}}, "Kowalski": settings}


async def devices_seen(jp_ws_fetch: Fetch) -> dict[str, Any]:
    """The first status that tells of devices that were all reached; that somebody listens is why they are looked at."""
    socket = await jp_ws_fetch("kowalski", "api", "events")
    try:
        while True:
            status = json.loads(await socket.read_message())
            if status["devices"] and all(device["url"] for device in status["devices"]):
                return dict(status)
    finally:
        socket.close()


async def test_the_status_tells_of_devices(jp_ws_fetch: Fetch, cluster: Simulation) -> None:
    status = await devices_seen(jp_ws_fetch)

    assert [device["name"] for device in status["devices"]] == ["air", "box", "studio"]
    assert {device["condition"] for device in status["devices"]} == {"ok"}
    assert {device["url"] for device in status["devices"]} == set(cluster.urls)
    assert [device["limits"] for device in status["devices"]] == [["battery"], [], []]
    assert status["alerts"] == []


async def test_trends_are_there_for_what_devices_report(jp_ws_fetch: Fetch, jp_fetch: Fetch) -> None:
    status = await devices_seen(jp_ws_fetch)
    trends = json.loads((await jp_fetch("kowalski", "api", "devices", "trends")).body)

    air, box, _ = (trends[device["id"]] for device in status["devices"])
    assert len(air["memory"]) == 60
    assert air["memory"][-1] == pytest.approx(10 / 16)
    assert "temperature" in air
    assert "temperature" not in box
    with pytest.raises(HTTPClientError) as refused:
        await jp_fetch("kowalski", "api", "devices", "trends", params={"seconds": "long"})
    assert refused.value.code == 400


async def test_prometheus_gets_the_figures(jp_ws_fetch: Fetch, jp_fetch: Fetch) -> None:
    status = await devices_seen(jp_ws_fetch)
    air = status["devices"][0]
    metrics = (await jp_fetch("metrics")).body.decode()

    figures = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if line.startswith("kowalski_"))
    labels = f'{{device="{air["id"]}",name="air"}}'
    assert float(figures[f"kowalski_device_up{labels}"]) == 1
    assert float(figures[f"kowalski_device_memory_total_bytes{labels}"]) == 16 << 30
    assert "kowalski_cluster_sessions" in metrics
    assert float(figures["kowalski_requests_waiting"]) == 0


@pytest.mark.parametrize("path", [("kowalski", "api", "devices", "trends"), ("metrics",)])
async def test_nobody_gets_them_without_a_login(jp_fetch: Fetch, path: tuple[str, ...]) -> None:
    with pytest.raises(HTTPClientError) as refused:
        await jp_fetch(*path, headers={"Authorization": ""}, follow_redirects=False)
    assert refused.value.code in {302, 403}
