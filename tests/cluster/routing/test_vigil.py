"""When a request to exo is lost, by what its cluster says."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

from kowalski_jupyter.cluster.exo.views import Device, Task
from kowalski_jupyter.cluster.routing import vigil
from kowalski_jupyter.cluster.routing.vigil import Trail, judge, tasks_of
from kowalski_jupyter.cluster.snapshot import ClusterHealth, DeviceHealth, InstanceHealth, Snapshot
from kowalski_jupyter.models.instances import Instance, Runner

MODEL = "m/small"
NOW = 1000.0
TASK = Task("t", "i", "reply-7", running=False, seed=7)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vigil, "time", SimpleNamespace(monotonic=lambda: NOW))


def snapshot(**how: Any) -> Snapshot:
    """Two devices with a replica each; a request is on the first."""
    tasks, conditions = how.pop("tasks", (TASK,)), how.pop("conditions", ("ok", "ok"))
    devices = {
        key: DeviceHealth(Device(key, name=key), "c", condition)
        for key, condition in zip(("studio", "mini"), conditions, strict=True)
    }
    instances = {
        key: InstanceHealth(Instance(key, MODEL, (Runner(node, "Ready"),)), "c", ready=devices[node].condition == "ok")
        for key, node in (("i", "studio"), ("j", "mini"))
    }
    health = ClusterHealth("http://studio", how.pop("session", 0), tasks=tasks, tasks_at=how.pop("tasks_at", NOW))
    return dataclasses.replace(Snapshot(NOW, {"c": health}, devices, instances), **how)


def verdict(seen: Snapshot, *, idle: float, reply_id: str = "reply-7", lists: bool = True, **trail: Any) -> Any:
    attempt: Any = SimpleNamespace(begun=NOW - idle, progress=NOW - idle, reply_id=reply_id)
    way = Trail("c", MODEL, trail.pop("device", "mini"), 0, 7, **trail)
    return judge(way, attempt, seen, *tasks_of(seen, "c"), lists=lists)


def test_a_request_that_waits_in_a_queue_lives() -> None:
    assert verdict(snapshot(), idle=500.0, reply_id="") is None


def test_a_new_master_knows_nothing_of_it() -> None:
    assert "new master" in verdict(snapshot(session=1), idle=0.0).reason


@pytest.mark.parametrize("condition", ["lost", "stale"])
def test_a_replica_whose_device_is_silent_is_left_its_requests(condition: str) -> None:
    found = verdict(snapshot(conditions=(condition, "ok")), idle=2.0)
    assert (found.reason, found.leave) == ("studio stopped answering", True)


def test_a_device_whose_api_is_silent_is_given_up() -> None:
    found = verdict(snapshot(conditions=("ok", "unreachable")), idle=2.0)
    assert (found.reason, found.leave) == ("mini stopped answering", False)


def test_progress_counts_more_than_what_is_said() -> None:
    assert verdict(snapshot(conditions=("stale", "ok")), idle=0.5) is None


def test_a_reply_that_is_not_listed_any_more_is_lost_if_the_list_is_new() -> None:
    assert "on its way" in verdict(snapshot(tasks=()), idle=5.0, instance="i").reason
    assert verdict(snapshot(tasks=(), tasks_at=NOW - 4.0), idle=5.0, instance="i") is None


def test_one_that_was_never_listed_is_given_an_elections_time() -> None:
    assert verdict(snapshot(tasks=()), idle=6.0, reply_id="") is None
    assert "does not know it" in verdict(snapshot(tasks=()), idle=9.0, reply_id="").reason
    assert verdict(snapshot(tasks=()), idle=900.0, reply_id="", lists=False) is None  # an exo that lists none


def test_a_model_that_is_gone_takes_its_requests_with_it() -> None:
    assert "was unloaded" in verdict(snapshot(instances={}), idle=2.0).reason
    assert "was unloaded" in verdict(snapshot(instances={}), idle=2.0, reply_id="", device=None).reason


def test_seeds_that_several_tasks_have_name_none_of_them() -> None:
    twice = (TASK, dataclasses.replace(TASK, id="u", instance="j", command="reply-8"))
    assert tasks_of(snapshot(tasks=twice), "c")[1] == {7: None}
