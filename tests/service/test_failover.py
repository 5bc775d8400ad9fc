"""Runs with 200 sub-calls on a simulated cluster of which something fails: all that a real exo was seen to do."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kowalski_jupyter.exo_sim import SimulationError
from kowalski_jupyter.exo_sim.records import Record
from kowalski_jupyter.rlm import events as ev
from tests.support.failing import (
    MODEL,
    Ended,
    Meanwhile,
    hold,
    place_on_each,
    run_on,
    run_through,
    schedule,
    simulation,
)

CALLS = 200
FEW = 80
"""So many where one device does it all."""
SUM = str(sum(range(CALLS)))
AGAIN = r"(\d+ sub-calls are|a sub-call is) sent again"
pytestmark = pytest.mark.usefixtures("nothing_left")


@dataclass(frozen=True)
class Row:
    """A fault, its settings, and what the user reads of it (a regular expression; none where nobody need notice)."""

    fault: str
    settings: dict[str, Any] = field(default_factory=dict)
    told: str = ""
    under_way: int | None = None
    """A node at which a request has to be under way, so that there is something to tell of."""


ROWS = [
    Row("kill_runner", {"node": 1}, r"failed|broke off", under_way=1),
    Row("kill_node", {"node": 2}, rf"tower (stopped answering|broke off replies): {AGAIN}", under_way=2),
    Row("kill_master", {}, r"is not loaded: exo is asked to load it"),
    Row("kill_node", {"node": 0}, r"exo has a new master", under_way=1),
    Row("election", {}),
    Row(
        "election", {"master_changes": True}, rf"exo has a new master, which knows nothing of it: {AGAIN}", under_way=1
    ),
    Row("partition", {"node": 1}, rf"mini stopped answering: {AGAIN}"),
    Row("partition", {"node": 0, "seconds": 60}, r"the run goes on"),
    Row("stop_node", {"node": 1}, r"mini (stopped answering|broke off replies)"),
    Row("delete_instance", {"node": 1}, rf"broke off replies: {AGAIN}", under_way=1),
    Row("zombie_stream", {"count": 5, "after": 1}),
    Row("zombie_stream", {"count": 3}),
    Row("empty_200", {"count": 5}, rf"broke off replies: {AGAIN}"),
    Row("partial_json", {"count": 5, "after": 1}, r"broke off replies"),
    Row("error_chunk", {"count": 4}, rf"failed: {AGAIN}"),
    Row("slow_node", {"node": 1, "factor": 3}),
    Row("refuse_connections", {"node": 0}),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(map(str, (row.fault, *row.settings.values()))))
def test_a_run_survives(row: Row, tmp_path: Path) -> None:
    async def go() -> tuple[Ended, list[Record]]:
        async with simulation(CALLS) as sim:
            await place_on_each(sim)

            async def disturb(run: Meanwhile) -> None:
                await run.answered(40)
                if row.under_way is not None:
                    await hold(sim, row.under_way)
                await sim.inject(row.fault, **row.settings)
                if row.under_way is not None:
                    with contextlib.suppress(SimulationError):  # it is dead
                        await sim.inject("slow_node", node=row.under_way, factor=1)

            ended = await run_on(sim.url, tmp_path, disturb)
            return ended, await sim.requests()

    ended, records = asyncio.run(go())

    check_right(ended)
    assert re.search(row.told, "\n".join(ended.notices)), ended.notices
    # Some requests were made again, and no sub-call more often than there is reason for.
    asked = Counter(record.messages[-1]["content"] for record in records)
    assert max(asked.values()) <= 8


@pytest.mark.parametrize("seed", range(20))
def test_a_run_survives_a_random_schedule(seed: int, tmp_path: Path) -> None:
    check_right(asyncio.run(run_through(schedule(seed, CALLS), tmp_path, CALLS)))


def check_right(ended: Ended, calls: int = CALLS) -> None:
    """The answer is right, and nothing was lost or counted twice."""
    assert ended.finished.state == "done", ended.finished.error
    assert ended.value == str(sum(range(calls)))
    finished = Counter(event.call for event in ended.of(ev.SubcallFinished))
    assert finished == Counter(range(1, calls + 1))
    assert Counter(event.call for event in ended.of(ev.SubcallSent)) == finished
    assert not [event.error for event in ended.of(ev.SubcallFinished) if event.error]
    usage = ended.run.trace.document()["usage"]
    counted = sum(event.completion_tokens for event in ended.of(ev.SubcallFinished))
    root = sum(event.completion_tokens for event in ended.of(ev.ReplyFinished))
    assert usage["completion_tokens"] == counted + root
    assert usage["subcalls"] == calls


def test_a_run_waits_where_nothing_answers_and_goes_on_by_itself(tmp_path: Path) -> None:
    async def go() -> Ended:
        async with simulation(FEW, nodes=1) as sim:
            await sim.place(MODEL)

            async def disturb(run: Meanwhile) -> None:
                await run.answered(40)
                await sim.inject("kill_node", node=0)
                await run.told("No model answers now")
                await sim.inject("node_back", node=0)

            return await run_on(sim.url, tmp_path, disturb)

    ended = asyncio.run(go())

    check_right(ended, FEW)
    assert any(notice.startswith("No model answers now") for notice in ended.notices)
    assert any(notice.endswith("answers again: the run goes on.") for notice in ended.notices)


def test_a_run_that_waits_ends_at_its_time_limit(tmp_path: Path) -> None:
    async def go() -> Ended:
        async with simulation(FEW, nodes=1) as sim:
            await sim.place(MODEL)

            async def disturb(run: Meanwhile) -> None:
                await run.answered(10)
                await sim.inject("kill_node", node=0)

            return await run_on(sim.url, tmp_path, disturb, limit=6.0)

    ended = asyncio.run(go())

    assert ended.finished.state == "failed"
    assert "the limit of seconds is reached" in ended.finished.error
