"""Models on a simulated exo: listed, loaded, refused, unloaded, and placed again after a master's death."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kowalski_jupyter.cluster import loading
from kowalski_jupyter.cluster.catalogue import full_id
from kowalski_jupyter.cluster.cluster import Cluster
from kowalski_jupyter.cluster.exo.client import ExoClient
from kowalski_jupyter.cluster.placement import choose
from kowalski_jupyter.exo_sim import Device, Model, Simulation
from kowalski_jupyter.models.base import ModelRefusedError, ModelUnreachableError
from tests.cluster.support import free_url, run, until

GIB = 1 << 30
SMALL, LARGE, HUGE = "mlx-community/Small-1B-4bit", "mlx-community/Large-70B-4bit", "mlx-community/Huge-1T-4bit"
MODELS = [
    Model(SMALL, size=1 * GIB, layers=16),
    Model(LARGE, size=60 * GIB, layers=80),
    Model(HUGE, size=900 * GIB, downloaded=False),
]


@asynccontextmanager
async def simulated(known: Path, **how: Any) -> AsyncIterator[tuple[Simulation, Cluster]]:
    """A simulation, and a cluster that watches it and has found it."""
    async with Simulation(**{"nodes": 3, "models": MODELS, "speed": 10.0, **how}) as sim:
        cluster = Cluster(known, [sim.url], local=free_url())
        try:
            with cluster.looking():
                await cluster.look()
                yield sim, cluster
        finally:
            await cluster.close()


def silent(*_: object) -> None:
    """Report to nobody."""


def test_the_catalogue_says_what_is_loaded_what_is_here_and_what_fits(known: Path) -> None:
    async def go() -> None:
        async with simulated(known) as (sim, cluster):
            await sim.place(SMALL)
            small, large, huge = await cluster.models.catalogue()
            assert (small.id, small.loaded, small.downloaded, small.devices) == (SMALL, "ready", True, 1)
            assert (large.id, large.loaded, large.downloaded, large.devices) == (LARGE, "", True, 2)
            assert (huge.id, huge.loaded, huge.downloaded, huge.devices) == (HUGE, "", False, None)
            assert large.size == 60 * GIB

    run(go())


def test_the_catalogues_of_all_clusters_are_listed(known: Path) -> None:
    async def go() -> None:
        async with (
            simulated(known, models=MODELS[:1], nodes=[Device(name="attic")], first=4) as (_, _),
            simulated(known, nodes=[Device(name="studio"), Device(name="mini")]) as (sim, cluster),
        ):
            await sim.place(SMALL)
            await until(cluster, lambda snapshot: len(snapshot.clusters) == 2)  # the other's address is remembered
            listed = [(model.where, model.id, model.loaded) for model in await cluster.models.catalogue()]
            of_two = [(model, "ready" if model == SMALL else "") for model in (SMALL, LARGE, HUGE)]
            assert sorted(listed) == sorted(
                [("exo (attic)", SMALL, ""), *(("exo (studio and mini)", *each) for each in of_two)]
            )

    run(go())


def test_a_model_is_loaded_while_its_progress_is_told(known: Path) -> None:
    async def go() -> None:
        async with simulated(known, speed=4.0) as (_, cluster):
            said: list[tuple[str, int | None, int | None]] = []
            health = await cluster.models.load("large-70b-4bit", lambda *news: said.append(news))
            assert health.ready
            assert health.instance.model == LARGE
            assert len(health.instance.nodes) == 2
            (first, *steps, last) = said
            assert first[0].startswith(f"loading {LARGE} on ")
            assert last[0].startswith(f"{LARGE} is ready on ")
            assert {total for _, _, total in steps} == {60 * GIB}
            done = [step[1] or 0 for step in steps]
            assert done == sorted(done)
            assert 0 < done[len(done) // 2] < done[-1] == 60 * GIB
            assert len(said) == len(set(said)), "nothing is told twice"

    run(go())


def test_how_it_is_spread_is_the_users_to_say(known: Path) -> None:
    async def go() -> None:
        async with simulated(known) as (_, cluster):
            health = await cluster.models.load(SMALL, silent, min_nodes=3)
            assert (len(health.instance.nodes), health.instance.sharding) == (3, "pipeline")
            health = await cluster.models.load(SMALL, silent, spread="tensor", min_nodes=2)
            assert (len(health.instance.nodes) >= 2, health.instance.sharding) == (True, "tensor")

    run(go())


@pytest.mark.parametrize(
    ("model", "how", "reason"),
    [
        (HUGE, {}, "cannot be placed: "),
        (SMALL, {"min_nodes": 7}, "3 devices is the most that the cluster offers"),
        ("mlx-community/Smal-1B-4bit", {}, f"Did you mean {SMALL}"),
        ("nobody/knows-this", {}, "exo does not know a model"),
    ],
)
def test_why_a_model_cannot_be_placed(known: Path, model: str, how: dict[str, Any], reason: str) -> None:
    async def go() -> None:
        async with simulated(known) as (_, cluster):
            with pytest.raises(ModelRefusedError) as refused:
                await cluster.models.load(model, silent, **how)
            assert reason in str(refused.value)
            assert "\n" not in str(refused.value)
            assert cluster.snapshot.instances == {}

    run(go())


def test_a_command_that_exo_takes_and_does_not_do(known: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lost(*_: object) -> None:
        """What becomes of a command that a master refuses: it was taken with status 200."""

    monkeypatch.setattr(loading, "_APPEAR_SECONDS", 0.5)
    monkeypatch.setattr(ExoClient, "create", lost)

    async def go() -> None:
        async with simulated(known) as (_, cluster):
            with pytest.raises(ModelRefusedError, match=r"exo took the command .* and did not do it"):
                await cluster.models.load(SMALL, silent)

    run(go())


def test_a_model_is_unloaded_with_all_its_replicas(known: Path) -> None:
    async def go() -> None:
        async with simulated(known) as (sim, cluster):
            ids = {await sim.place(SMALL, on=[0]), await sim.place(SMALL, on=[1])}
            assert set(await cluster.models.unload("Small-1B-4bit")) == ids
            assert cluster.snapshot.instances == {}
            with pytest.raises(ModelRefusedError, match=r"is not loaded\. Nothing is loaded\."):
                await cluster.models.unload(SMALL)

    run(go())


def test_all_who_need_a_model_wait_for_the_same_load(known: Path) -> None:
    async def go() -> None:
        async with simulated(known) as (_, cluster):
            said: list[list[str]] = [[], [], []]

            def teller(number: int) -> Any:
                return lambda text, *_: said[number].append(text)

            found = await asyncio.gather(*(cluster.models.ensure(SMALL, teller(number)) for number in range(3)))
            assert len({health.instance.id for health in found}) == 1
            assert len(cluster.snapshot.instances) == 1
            assert all(f"{SMALL} is not loaded: exo is asked to load it" in each for each in said)
            again = await cluster.models.ensure(SMALL, teller(0))
            assert again.instance.id == found[0].instance.id

    run(go())


def test_one_that_is_on_its_way_already_is_waited_for(known: Path) -> None:
    async def go() -> None:
        async with simulated(known) as (sim, cluster):
            coming = await sim.place(SMALL, wait=False)
            said: list[str] = []
            health = await cluster.models.ensure(SMALL, lambda text, *_: said.append(text))
            assert health.instance.id == coming
            assert said[0] == f"{SMALL} is still being loaded"

    run(go())


def test_after_a_masters_death_what_a_run_needs_is_placed_again(known: Path) -> None:
    async def go() -> None:
        async with simulated(known) as (sim, cluster):
            before = await cluster.models.ensure(SMALL, silent)
            (key,) = cluster.snapshot.clusters
            session = cluster.snapshot.clusters[key].session
            await sim.inject("kill_master")
            await until(cluster, lambda snapshot: snapshot.clusters[key].session > session)
            assert cluster.snapshot.of_model(SMALL) == []
            after = await cluster.models.ensure(SMALL, silent)
            assert after.ready
            assert after.instance.id != before.instance.id
            assert "master changed" in [alert.kind for alert in cluster.snapshot.alerts]

    run(go())


def test_a_node_that_dies_is_lost_and_one_that_comes_back_is_back(known: Path) -> None:
    async def go() -> None:
        async with simulated(known, nodes=[Device(name="a"), Device(name="b"), Device(name="c")]) as (sim, cluster):
            told = await sim.tell()
            member = next(index for index in range(3) if sim.node_ids[index] != told["master"])
            instance = await sim.place(SMALL, on=[member])
            gone = sim.node_ids[member]
            await until(cluster, lambda snapshot: instance in snapshot.instances)
            await sim.inject("kill_node", node=member)
            snapshot = await until(cluster, lambda snapshot: snapshot.devices[gone].condition == "lost")
            assert snapshot.of_model(SMALL) == []
            name = snapshot.devices[gone].device.name
            assert f"{name} is lost" in snapshot.alerts[0].text
            await sim.inject("node_back", node=member)
            snapshot = await until(cluster, lambda snapshot: gone not in snapshot.devices)
            assert sim.node_ids[member] in snapshot.devices
            assert f"{name} is back." in [alert.text for alert in snapshot.alerts]

    run(go())


def test_a_node_that_is_cut_off_and_comes_back(known: Path) -> None:
    async def go() -> None:
        async with simulated(known) as (sim, cluster):
            told = await sim.tell()
            (key,) = cluster.snapshot.clusters
            cut = next(index for index in range(3) if sim.node_ids[index] != told["master"])
            gone = sim.node_ids[cut]
            await until(cluster, lambda snapshot: len(snapshot.urls(key)) == 3)
            await sim.inject("partition", node=cut)
            snapshot = await until(cluster, lambda snapshot: snapshot.devices[gone].condition == "lost")
            others = {url for index, url in enumerate(sim.urls) if index != cut}
            snapshot = await until(cluster, lambda snapshot: set(snapshot.urls(key)) == others)
            await sim.inject("heal", node=cut)
            snapshot = await until(
                cluster, lambda snapshot: len(snapshot.clusters) == 1 and len(snapshot.urls(*snapshot.clusters)) == 3
            )
            assert {each.condition for each in snapshot.devices.values()} == {"ok"}

    run(go())


def test_a_lone_node_is_found_again_however_often_it_is_started_anew(known: Path) -> None:
    """Each start gives it another id, and no other node tells where it is."""

    async def go() -> None:
        async with simulated(known, nodes=[Device(name="studio")]) as (sim, cluster):
            (key,) = cluster.snapshot.clusters
            for _ in range(3):
                await sim.inject("kill_node", node=0)
                await until(cluster, lambda snapshot: not snapshot.clusters[key].url)
                await sim.inject("node_back", node=0)
                (new,) = sim.node_ids
                snapshot = await until(
                    cluster,
                    lambda snapshot, new=new: (
                        new in snapshot.devices and snapshot.devices[new].url and [*snapshot.clusters] == [key]
                    ),
                )
                assert snapshot.devices[new].device.name == "studio"
                assert snapshot.urls(key) == [sim.url]

    run(go())


def test_without_a_cluster_it_says_how_to_get_one(known: Path) -> None:
    async def go() -> None:
        cluster = Cluster(known, local="http://127.0.0.1:9")
        try:
            assert await cluster.models.catalogue() == []
            with pytest.raises(ModelUnreachableError, match="No exo cluster was found"):
                await cluster.models.load(SMALL, silent)
        finally:
            await cluster.close()

    run(go())


# -- choosing, on what a real exo has offered ------------------------------------------------------------------

SMOL = "mlx-community/SmolLM2-135M-Instruct"


def test_the_fewest_devices_that_do_are_chosen(capture: Callable[[str], Any]) -> None:
    previews = capture("previews.json")["previews"]
    alone = choose(previews, SMOL)
    assert (len(alone.instance.nodes), alone.instance.sharding) == (1, "pipeline")
    assert len(choose(previews, SMOL, min_nodes=2).instance.nodes) == 2
    assert choose(previews, SMOL, "tensor", min_nodes=2).instance.sharding == "tensor"
    avoided = frozenset(alone.instance.nodes)
    assert avoided.isdisjoint(choose(previews, SMOL, avoid=avoided).instance.nodes) is False  # there is no other way


def test_what_exo_said_is_the_reason(capture: Callable[[str], Any]) -> None:
    refused = [each for each in capture("previews.json")["previews"] if each["error"]]
    with pytest.raises(ModelRefusedError, match="No cycle where every node supports a backend"):
        choose(refused, SMOL)
    with pytest.raises(ModelRefusedError, match="3 devices is the most"):
        choose(capture("previews.json")["previews"], SMOL, min_nodes=4)


def test_a_short_name_is_enough_where_it_is_the_only_one() -> None:
    ids = ["a/One-4bit", "b/Two-4bit", "c/Two-4bit"]
    assert full_id("one-4bit", ids) == "a/One-4bit"
    assert full_id("b/Two-4bit", ids) == "b/Two-4bit"
    with pytest.raises(ModelRefusedError, match="may be any of b/Two-4bit, c/Two-4bit"):
        full_id("Two-4bit", ids)
