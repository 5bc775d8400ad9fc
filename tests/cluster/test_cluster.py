"""Finding clusters and watching them, over real sockets."""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kowalski_jupyter.cluster import watch
from kowalski_jupyter.cluster.cluster import Cluster
from kowalski_jupyter.cluster.snapshot import Snapshot
from kowalski_jupyter.magics.devices import instance_line
from kowalski_jupyter.service.devices import instance_document
from tests.cluster.nodes import SMOL, Nodes
from tests.cluster.support import free_url, run, until

Capture = Callable[[str], Any]


@pytest.fixture
def nodes(capture: Capture) -> Any:
    """Three nodes with one model over them."""
    with Nodes(capture("state-pipeline.json")) as three:
        yield three


@asynccontextmanager
async def watching(known: Path, *addresses: str, local: str = "") -> AsyncIterator[Cluster]:
    cluster = Cluster(known, addresses, local=local or free_url())
    try:
        with cluster.looking():
            yield cluster
    finally:
        await cluster.close()


async def reached(cluster: Cluster, count: int = 3) -> Snapshot:
    """Return the first snapshot that has so many devices whose API was reached."""
    return await until(cluster, lambda snapshot: sum(bool(each.url) for each in snapshot.devices.values()) == count)


def on_disk(known: Path) -> tuple[int, set[str]]:
    """The file's mode, and the addresses in it."""
    return stat.S_IMODE(known.stat().st_mode), {each["url"] for each in json.loads(known.read_text())["nodes"]}


# -- finding -----------------------------------------------------------------------------------------------


def test_one_address_is_enough_for_all_devices(nodes: Nodes, known: Path) -> None:
    async def go() -> None:
        async with watching(known, nodes.urls[1]) as cluster:
            snapshot = await reached(cluster)
            assert [each.url for each in map(snapshot.devices.get, nodes.ids) if each] == nodes.urls
            assert {each.condition for each in snapshot.devices.values()} == {"ok"}
            assert all(each.round_trip for each in snapshot.devices.values())
            assert len(snapshot.urls(*snapshot.clusters)) == 3

    run(go())


def test_a_cluster_on_this_machine_is_found_without_a_word(nodes: Nodes, known: Path) -> None:
    async def go() -> None:
        async with watching(known, local=nodes.urls[0]) as cluster:
            assert len((await cluster.look()).devices) == 3

    run(go())


def test_tomorrow_it_is_found_though_its_first_node_is_off(nodes: Nodes, known: Path) -> None:
    async def go() -> None:
        async with watching(known, nodes.urls[0]) as cluster:
            await reached(cluster)
        assert on_disk(known) == (0o600, set(nodes.urls))
        nodes.stop(nodes.ids[0])
        async with watching(known) as cluster:
            snapshot = await reached(cluster, 2)
            assert {each.url for each in snapshot.devices.values()} >= set(nodes.urls[1:])

    run(go())


def test_one_that_appears_later_is_found_without_hands(capture: Capture, known: Path) -> None:
    async def go() -> None:
        later = Nodes(capture("state-pipeline.json"))
        url = free_url()
        later.servers[later.ids[0]].port = int(url.rpartition(":")[2])
        async with watching(known, url) as cluster:
            assert (await cluster.look()).devices == {}
            with later:
                await until(cluster, lambda snapshot: len(snapshot.devices) == 3)

    run(go())


@pytest.mark.parametrize(
    "file", ["", "[]", "{", '{"nodes": [{"url": 3}]}', '{"nodes": [{"url": "file:///x", "seen": 1}]}']
)
def test_a_broken_list_of_known_nodes_is_written_anew(nodes: Nodes, known: Path, file: str) -> None:
    known.parent.mkdir()
    known.write_text(file)

    async def go() -> None:
        async with watching(known, nodes.urls[0]) as cluster:
            await reached(cluster)

    run(go())
    assert on_disk(known)[1] == set(nodes.urls)


def test_an_address_where_another_node_answers_is_not_taken_for_this_one(nodes: Nodes, known: Path) -> None:
    async def go() -> None:
        nodes.servers[nodes.ids[2]].routes["/node_id"] = "somebodyelse"
        async with watching(known, nodes.urls[0]) as cluster:
            last = nodes.ids[2]
            snapshot = await until(
                cluster,
                lambda snapshot: last in snapshot.devices and snapshot.devices[last].condition == "unreachable",
            )
            assert (snapshot.devices[last].url, snapshot.devices[last].round_trip) == (None, None)
            assert nodes.urls[2] not in snapshot.urls(*snapshot.clusters)

    run(go())


def test_what_is_not_exo_is_asked_once_and_left_alone(known: Path, capture: Capture) -> None:
    async def go() -> None:
        with Nodes(capture("state-pipeline.json")) as other:
            server = other.servers[other.ids[0]]
            server.routes = {}
            async with watching(known, server.url) as cluster:
                assert (await cluster.look()).devices == {}
                await cluster._search_once()
                assert server.gets == ["/node_id"]

    run(go())


# -- watching ----------------------------------------------------------------------------------------------


def test_an_instance_is_ready_only_while_all_its_devices_are_heard_of(nodes: Nodes, known: Path) -> None:
    async def go() -> None:
        async with watching(known, nodes.urls[0]) as cluster:
            snapshot = await cluster.look()
            (instance,) = snapshot.of_model(SMOL)
            assert len(instance.instance.nodes) == 3
            silent = nodes.ids[2]
            nodes.hear_of(silent, seconds=9)
            snapshot = await cluster.look()
            assert snapshot.of_model(SMOL) == []
            (instance,) = snapshot.of_model(SMOL, ready=False)
            assert instance.problem.startswith("exo-node-")
            assert "not been heard of for" in instance.problem
            assert snapshot.devices[silent].condition == "stale"  # its API still answers
            assert snapshot.alerts == ()

    run(go())


def test_a_lost_device_is_told_of_and_so_is_its_return(nodes: Nodes, known: Path) -> None:
    async def go() -> None:
        async with watching(known, nodes.urls[0]) as cluster:
            await reached(cluster)
            gone = nodes.ids[2]
            nodes.stop(gone)
            nodes.hear_of(gone, seconds=9)
            snapshot = await until(cluster, lambda snapshot: snapshot.devices[gone].condition == "lost")
            (alert,) = snapshot.alerts
            name = snapshot.devices[gone].device.name
            assert (alert.kind, alert.text) == ("device lost", f"{name} is lost: it does not answer any more.")
            nodes.forget(gone)
            nodes.hear_of()
            snapshot = await cluster.look()
            assert snapshot.devices[gone].condition == "lost"
            assert snapshot.devices[gone].lost_since is not None
            # exo on it starts again, under a new id.
            nodes.state["topology"]["nodes"].append("aNewId")
            nodes.state["lastSeen"]["aNewId"] = nodes.state["lastSeen"][nodes.ids[0]]
            nodes.state["nodeIdentities"]["aNewId"] = {"friendlyName": name}
            nodes.hear_of()
            snapshot = await until(cluster, lambda snapshot: gone not in snapshot.devices)
            assert [alert.kind for alert in snapshot.alerts] == ["device back", "device lost"]
            assert snapshot.alerts[1].until is not None

    run(go())


def test_when_the_node_that_is_asked_dies_another_is_asked(nodes: Nodes, known: Path) -> None:
    async def go() -> None:
        async with watching(known, nodes.urls[0]) as cluster:
            await reached(cluster)
            (key,) = cluster.snapshot.clusters
            nodes.stop(nodes.ids[0])
            snapshot = await cluster.look()
            assert snapshot.clusters[key].url in nodes.urls[1:]
            assert snapshot.clusters[key].session == 0
            for node in nodes.ids[1:]:
                nodes.stop(node)
            snapshot = await until(cluster, lambda snapshot: snapshot.clusters[key].url is None)
            assert snapshot.of_model(SMOL) == []

    run(go())


def test_a_new_master_is_noticed_by_its_beginning_anew(nodes: Nodes, known: Path) -> None:
    async def go() -> None:
        async with watching(known, nodes.urls[0]) as cluster:
            before = await cluster.look()
            (key,) = before.clusters
            nodes.state |= {"instances": {}, "runners": {}, "tasks": {}, "lastEventAppliedIdx": 12}
            nodes.tell()
            snapshot = await cluster.look()
            assert snapshot.clusters[key].session == before.clusters[key].session + 1
            assert snapshot.instances == {}
            assert [alert.kind for alert in snapshot.alerts] == ["master changed"]

    run(go())


def test_two_addresses_of_one_cluster_are_one_cluster(nodes: Nodes, known: Path) -> None:
    async def go() -> None:
        async with watching(known, *nodes.urls) as cluster:
            snapshot = await until(cluster, lambda snapshot: len(snapshot.devices) == 3)
            await cluster._search_once()
            assert len(snapshot.clusters) == len(cluster.snapshot.clusters) == 1

    run(go())


def test_exo_before_1_0_70_has_no_parts_and_is_watched_all_the_same(nodes: Nodes, known: Path) -> None:
    async def go() -> None:
        nodes.tell(parts=False)
        async with watching(known, nodes.urls[0]) as cluster:
            snapshot = await cluster.look()
            assert len(snapshot.devices) == 3
            assert len(snapshot.of_model(SMOL)) == 1

    run(go())


def test_memory_that_runs_short_and_heat_are_told_of_once_and_taken_back(nodes: Nodes, known: Path) -> None:
    async def go() -> None:
        first = nodes.ids[0]
        memory = nodes.state["nodeMemory"][first]
        memory["ramAvailable"]["inBytes"] = 1 << 29
        nodes.state["nodeSystem"] = {first: {"gpuUsage": 0.9, "temp": 97.0}}
        nodes.tell()
        async with watching(known, nodes.urls[0]) as cluster:
            snapshot = await cluster.look()
            assert {alert.kind for alert in snapshot.alerts} == {"memory short", "hot"}
            assert snapshot.devices[first].small_work_only
            assert snapshot.devices[first].load == 0.9
            memory["ramAvailable"]["inBytes"] = 8 << 30
            nodes.state["nodeSystem"][first]["temp"] = 60.0
            nodes.tell()
            snapshot = await until(cluster, lambda snapshot: all(alert.until is not None for alert in snapshot.alerts))
            assert len(snapshot.alerts) == 2
            assert not snapshot.devices[first].small_work_only

    run(go())


def test_a_failed_instance_is_told_of_with_what_exo_said(nodes: Nodes, known: Path) -> None:
    async def go() -> None:
        instance = next(iter(nodes.state["instances"].values()))["MlxRingInstance"]
        runner = next(iter(instance["shardAssignments"]["nodeToRunner"].values()))
        nodes.state["runners"][runner] = {"RunnerFailed": {"errorMessage": "out of memory\nTraceback …"}}
        nodes.tell()
        async with watching(known, nodes.urls[0]) as cluster:
            snapshot = await cluster.look()
            (alert,) = snapshot.alerts
            assert (alert.kind, alert.subject) == ("instance failed", instance["instanceId"])
            assert "out of memory." in alert.text
            assert "Traceback" not in alert.text

    run(go())


def test_requests_are_told_apart_as_ours_and_others(nodes: Nodes, known: Path) -> None:
    async def go() -> None:
        (instance,) = nodes.state["instances"]
        for command in ("c1", "c2", "c3"):
            body = {"taskStatus": "Pending", "instanceId": instance, "commandId": command}
            nodes.state["tasks"][command] = {"TextGeneration": body}
        nodes.tell()
        async with watching(known, nodes.urls[0]) as cluster:
            (key,) = (await cluster.look()).clusters
            assert (cluster.snapshot.instances[instance].ours, cluster.snapshot.instances[instance].others) == (0, 3)
            named, unnamed = cluster.traffic.begin(key, SMOL), cluster.traffic.begin(key, SMOL)
            named.named("c2")
            health = (await cluster.look()).instances[instance]
            assert (health.ours, health.others, health.tokens_per_second) == (2, 1, None)
            named.done(tokens=40, seconds=2.0)
            unnamed.done()
            del nodes.state["tasks"]["c2"]
            nodes.tell()
            health = (await cluster.look()).instances[instance]
            assert (health.ours, health.others, health.tokens_per_second) == (0, 2, 20.0)

    run(go())


def test_what_an_instance_does_not_work_on_yet_is_queued(nodes: Nodes, known: Path) -> None:
    async def go() -> None:
        (instance,) = nodes.state["instances"]
        async with watching(known, nodes.urls[0]) as cluster:
            for number, queued in ((8, 0), (11, 3)):
                for command in range(number):
                    body = {"taskStatus": "Pending", "instanceId": instance, "commandId": f"c{command}"}
                    nodes.state["tasks"][f"c{command}"] = {"TextGeneration": body}
                nodes.tell()
                health = (await cluster.look()).instances[instance]
                assert (health.in_flight, health.queued) == (number, queued)
                assert ("3 of them wait" in instance_line(instance_document(health, {}))) == bool(queued)

    run(go())


def test_a_cluster_that_is_gone_for_long_is_forgotten_and_found_again(
    nodes: Nodes, known: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go() -> None:
        async with watching(known, nodes.urls[0]) as cluster:
            await cluster.look()
            port = nodes.servers[nodes.ids[0]].port
            for node in nodes.ids:
                nodes.stop(node)
            monkeypatch.setattr(watch, "_REMEMBER_SECONDS", 0.0)
            snapshot = await until(cluster, lambda snapshot: not snapshot.clusters)
            assert snapshot.devices == {}
            monkeypatch.undo()
            again = nodes.servers[nodes.ids[0]]
            assert again.port == port
            with again:
                await until(cluster, lambda snapshot: snapshot.clusters)

    run(go())
