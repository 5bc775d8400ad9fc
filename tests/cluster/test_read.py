"""Reading what exo says of itself: the shapes of all its versions, and what no exo ever said."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from kowalski_jupyter.cluster.exo.addresses import addresses
from kowalski_jupyter.cluster.exo.read import known_addresses, read_state, read_time
from kowalski_jupyter.cluster.exo.views import ClusterState

Capture = Callable[[str], Any]
LAN = "http://192.168.1.20:52415"


def read(parts: dict[str, Any], source: str) -> ClusterState:
    return read_state(parts, known_addresses(parts, source))


STUDIO, MACBOOK, MINI = (
    "a1f0c4e2b7d84c5e9a6b3d2e1f00aa01",
    "b2e1d5f3c8e95d6fab7c4e3f2011bb02",
    "c3d2e6a4d9fa6e70bc8d5f403122cc03",
)


def test_macs_tell_everything(capture: Capture) -> None:
    state = read(capture("state-3-macs.json"), LAN)
    studio = state.devices[STUDIO]
    assert (studio.name, studio.model, studio.chip, studio.system) == (
        "Studio",
        "Mac Studio",
        "Apple M3 Ultra",
        "26.3",
    )
    assert (studio.memory_total, studio.memory_available) == (549755813888, 384829069721)
    assert (studio.gpu, studio.cpu, studio.temperature, studio.power) == (0.731, 0.12, 58.4, 87.2)
    assert studio.disk_available == 412316860416
    assert state.index == 47
    assert state.stamp == studio.last_seen == read_time("2026-06-22T14:03:07.123456+00:00")


def test_an_instance_is_as_ready_as_its_own_runners(capture: Capture) -> None:
    state = read(capture("state-3-macs.json"), LAN)
    tensor, pipeline = state.instances.values()
    assert (tensor.sharding, tensor.ready, tensor.nodes) == ("tensor", True, (MACBOOK, STUDIO))
    assert (pipeline.sharding, pipeline.ready, len(pipeline.runners)) == ("pipeline", False, 3)
    assert pipeline.failed == "Terminated (signal=6 (Aborted))"
    loading = pipeline.runners[0]
    assert (loading.state, loading.layers_loaded, loading.layers) == ("Loading", 3, 9)
    assert pipeline.loaded == pytest.approx((3 / 9 + 1 + 0) / 3)


def test_requests_in_flight_are_counted_and_other_tasks_are_not(capture: Capture) -> None:
    parts = capture("state-3-macs.json")
    (instance,) = {task["TextGeneration"]["instanceId"] for task in parts["tasks"].values()}
    template = next(iter(parts["tasks"].values()))
    for number, (kind, status) in enumerate(
        [
            ("TextGeneration", "Pending"),
            ("TextGeneration", "Cancelled"),
            ("TextGeneration", "Complete"),
            ("LoadModel", "Running"),
        ]
    ):
        parts["tasks"][str(number)] = {kind: template["TextGeneration"] | {"taskStatus": status}}
    state = read(parts, LAN)
    assert state.in_flight(instance) == 2
    assert [task.running for task in state.tasks] == [True, False]


def test_linux_tells_less_and_nothing_is_made_up(capture: Capture) -> None:
    state = read(capture("state-pipeline.json"), "http://10.77.0.1:52415")
    for device in state.devices.values():
        assert device.model == device.chip == ""  # exo says "Unknown Model"
        assert device.name.startswith("exo-node-")
        assert device.gpu is device.temperature is device.power is None
        assert device.memory_total == 25276510208
        assert device.addresses == (f"http://10.77.0.{device.name[-1]}:52415",)


def test_identities_of_nodes_long_gone_are_no_devices(capture: Capture) -> None:
    parts = capture("state-pipeline.json")
    parts["nodeIdentities"]["ghost"] = {"friendlyName": "gone for an hour"}
    assert "ghost" not in read(parts, LAN).devices


def test_the_state_of_1_0_63_which_has_profiles() -> None:
    parts = {
        "topology": {
            "nodes": [{"nodeId": "12D3KooA", "nodeProfile": {}}, {"nodeId": "12D3KooB"}],
            "connections": [
                {
                    "localNodeId": "12D3KooA",
                    "sendBackNodeId": "12D3KooB",
                    "sendBackMultiaddr": {"address": "/ip4/10.0.0.2/tcp/52415", "port": 8000},
                }
            ],
        },
        "nodeProfiles": {
            "12D3KooA": {
                "modelId": "Mac mini",
                "chipId": "Apple M4",
                "friendlyName": "mini",
                "memory": {"ramTotal": {"inBytes": 10}, "ramAvailable": {"inBytes": 0}},
                "networkInterfaces": [{"name": "en0", "ipAddress": "10.0.0.1"}],
                "system": {"gpuUsage": 0.5, "temp": 40},
            }
        },
    }
    devices = read(parts, LAN).devices
    mini = devices["12D3KooA"]
    assert (mini.name, mini.chip, mini.memory_available, mini.gpu, mini.temperature) == ("mini", "Apple M4", 0, 0.5, 40)
    assert mini.addresses == ("http://10.0.0.1:52415",)
    assert devices["12D3KooB"].addresses == ("http://10.0.0.2:8000",)


def test_addresses_that_lead_nowhere_are_left_out() -> None:
    network = {
        "n": {
            "interfaces": [
                {"ipAddress": "127.0.0.1", "interfaceType": "unknown"},
                {"ipAddress": "::1", "interfaceType": "unknown"},
                {"ipAddress": "fe80::1%eth0", "interfaceType": "ethernet"},
                {"ipAddress": "169.254.7.7", "interfaceType": "maybe_ethernet"},
                {"ipAddress": "169.254.8.8", "interfaceType": "thunderbolt"},
                {"ipAddress": "0.0.0.0", "interfaceType": "wifi"},  # noqa: S104
                {"ipAddress": "192.168.1.9", "interfaceType": "wifi"},
                {"ipAddress": "evil.example/x?", "interfaceType": "wifi"},
            ]
        }
    }
    assert addresses(None, network, LAN) == {"n": ["http://169.254.8.8:52415", "http://192.168.1.9:52415"]}


def test_another_machine_cannot_send_us_to_our_own() -> None:
    topology = {"connections": {"a": {"b": [{"sinkMultiaddr": {"ip_address": "127.0.0.1", "port": 8888}}]}}}
    assert addresses(topology, {}, LAN) == {}
    assert addresses(topology, {}, "http://127.0.0.1:52415") == {"b": ["http://127.0.0.1:8888"]}


@pytest.mark.parametrize("nonsense", [None, 3, "x", [], [1], {"x": 1}, {"x": None}, {"x": {"y": []}}, True])
def test_parts_that_are_nonsense_are_as_good_as_missing(capture: Capture, nonsense: Any) -> None:
    parts = capture("state-3-macs.json")
    for key in parts:
        read(copy.deepcopy(parts) | {key: nonsense}, LAN)
    read(dict.fromkeys(parts, nonsense), LAN)


def test_every_leaf_may_be_null_or_of_another_type(capture: Capture) -> None:
    parts = capture("state-3-macs.json")
    parts["downloads"] = {}
    leaves = list(_paths(parts))
    assert len(leaves) > 200
    for wrong in (None, "word", -1, [], {}):
        for path in leaves[:: 1 if wrong is None else 7]:
            broken = copy.deepcopy(parts)
            place = broken
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = wrong
            read(broken, LAN)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Any:
    if path:
        yield path
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _paths(each, (*path, key))
    elif isinstance(value, list):
        for key, each in enumerate(value):
            yield from _paths(each, (*path, key))


def test_numbers_that_no_device_has() -> None:
    huge = json.loads('{"ramTotal": {"inBytes": 1e400}, "ramAvailable": {"inBytes": -5}}')
    parts = {
        "topology": {"nodes": ["n"]},
        "nodeMemory": {"n": huge},
        "nodeSystem": {"n": {"gpuUsage": 7, "temp": 1e300}},
    }
    device = read(parts, LAN).devices["n"]
    assert (device.memory_total, device.memory_available, device.gpu, device.temperature) == (None, 0, 1.0, None)


def test_a_stranger_cannot_send_us_to_every_address_there_is() -> None:
    many = {"n": {"interfaces": [{"ipAddress": f"10.0.{number}.1"} for number in range(200)]}}
    assert len(addresses(None, many, LAN)["n"]) == 16
    assert len(read({"topology": {"nodes": [str(number) for number in range(5000)]}}, LAN).devices) == 1000
