"""When a request to exo is lost, by what its cluster says."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
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


def stream(*, idle: float, begun: float = 30.0, first: float | None = None, tokens: int = 1, **how: Any) -> Any:
    """A request that was sent so many seconds ago, and last got on so many seconds ago."""
    since_first = None if first is None else NOW - first
    known = {"begun": NOW - begun, "first": since_first, "progress": NOW - idle, "tokens": tokens, "taken": True}
    return SimpleNamespace(**known | {"reply_id": "reply-7"} | how)


def verdict(seen: Snapshot, asked: Any, *, beside: Sequence[Any] = (), lists: bool = True, **trail: Any) -> Any:
    way = Trail("c", MODEL, "http://mini", trail.pop("device", "mini"), 0, 7, **trail)
    way.find(asked, *tasks_of(seen, "c"))
    return judge(way, asked, seen, beside=beside, lists=lists)


def test_a_request_that_waits_in_a_queue_lives() -> None:
    assert verdict(snapshot(), stream(idle=500.0, reply_id="")) is None


def test_a_new_master_knows_nothing_of_it() -> None:
    assert "new master" in verdict(snapshot(session=1), stream(idle=0.0)).reason


@pytest.mark.parametrize("condition", ["lost", "stale"])
def test_a_replica_whose_device_is_silent_is_left_its_requests(condition: str) -> None:
    found = verdict(snapshot(conditions=(condition, "ok")), stream(idle=2.0))
    assert (found.reason, found.leave) == ("studio stopped answering", True)


def test_a_device_whose_api_is_silent_is_given_up() -> None:
    found = verdict(snapshot(conditions=("ok", "unreachable")), stream(idle=2.0))
    assert (found.reason, found.leave) == ("mini stopped answering", False)


def test_progress_counts_more_than_what_is_said() -> None:
    assert verdict(snapshot(conditions=("stale", "ok")), stream(idle=0.5)) is None


def test_a_reply_that_is_not_listed_any_more_is_lost_if_the_list_is_new() -> None:
    assert "on its way" in verdict(snapshot(tasks=()), stream(idle=2.0), instance="i").reason
    assert verdict(snapshot(tasks=(), tasks_at=NOW - 1.0), stream(idle=2.0), instance="i") is None


def test_one_that_was_taken_and_never_listed_is_lost_as_soon() -> None:
    assert verdict(snapshot(tasks=()), stream(idle=1.2, reply_id="")) is None
    assert "does not know it" in verdict(snapshot(tasks=()), stream(idle=2.0, reply_id="")).reason
    assert verdict(snapshot(tasks=()), stream(idle=900.0, reply_id=""), lists=False) is None  # an exo that lists none


def test_one_of_which_not_a_byte_has_come_is_given_an_elections_time() -> None:
    assert verdict(snapshot(tasks=()), stream(idle=6.0, reply_id="", taken=False)) is None
    assert "does not know it" in verdict(snapshot(tasks=()), stream(idle=9.0, reply_id="", taken=False)).reason


def test_a_model_that_is_gone_takes_its_requests_with_it() -> None:
    assert "was unloaded" in verdict(snapshot(instances={}), stream(idle=2.0)).reason
    assert "was unloaded" in verdict(snapshot(instances={}), stream(idle=2.0, reply_id=""), device=None).reason


def test_a_stream_that_stands_still_while_others_of_its_instance_get_on_is_lost_though_it_is_listed() -> None:
    still = stream(idle=3.0, first=20.0, tokens=50)
    assert verdict(snapshot(), still, beside=[stream(idle=2.9, first=20.0, tokens=51)]) is None
    found = verdict(snapshot(), still, beside=[still, stream(idle=0.1, first=20.0, tokens=60)])
    assert (found.reason, found.beside) == ("exo lost the reply on its way", True)


def test_a_slow_instance_is_given_time_for_some_tokens_more() -> None:
    slow = stream(idle=0.1, first=20.1, tokens=11)  # one in two seconds
    assert verdict(snapshot(), stream(idle=6.0, first=20.0, tokens=8), beside=[slow]) is None
    assert verdict(snapshot(), stream(idle=12.0, first=20.0, tokens=8), beside=[slow]) is not None


def test_a_request_that_a_later_one_has_overtaken_is_lost() -> None:
    waits = stream(idle=9.0, begun=10.0, reply_id="")
    assert verdict(snapshot(), waits, beside=[stream(idle=0.1, begun=20.0, first=15.0, tokens=90)]) is None
    assert verdict(snapshot(), waits, beside=[stream(idle=0.1, begun=6.0, first=5.0, tokens=30)]) is not None


def test_seeds_that_several_tasks_have_name_none_of_them() -> None:
    twice = (TASK, dataclasses.replace(TASK, id="u", instance="j", command="reply-8"))
    assert tasks_of(snapshot(tasks=twice), "c")[1] == {7: None}
    # It may be either, and so it is not missing.
    assert verdict(snapshot(tasks=twice), stream(idle=90.0, reply_id="")) is None
