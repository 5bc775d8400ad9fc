"""The store by itself: what is written is read again, whatever happens to the file."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import signal
import sqlite3
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kowalski_jupyter.kernels.base import Value
from kowalski_jupyter.rlm import events as ev
from kowalski_jupyter.rlm.log import EventLog
from kowalski_jupyter.rlm.trace import Trace
from kowalski_jupyter.service.store.store import RunStore
from kowalski_jupyter.service.store.upkeep import Room, keep_up


class ToyRun:
    """A run as the store sees it."""

    def __init__(self, store: RunStore, run_id: str, parent: str = "") -> None:
        self.id = run_id
        self.answer: Value | None = None
        self.trace = Trace()
        self.store = store
        self.log = EventLog(self.listen)
        self.told: list[str] = []
        self.log.append(ev.RunStarted(run_id, f"What of {run_id}?", "loop", "here", [], 20, 900.0, parent=parent))

    def listen(self, event: ev.Event) -> None:
        self.trace.apply(event)
        self.store.note(self, event)

    def summary(self) -> dict[str, Any]:
        return {"id": self.id, "started": 0.0, "state": self.trace.state, "turn": self.trace.head()["usage"]["turns"]}

    def turn(self, number: int, text: str = "```repl\nx = llm_query('p')\n```") -> None:
        cell = f"{number}.1"
        append = self.log.append
        append(ev.TurnStarted(number))
        append(ev.ReplyDelta(number, "let me ", reasoning=True))
        append(ev.ReplyDelta(number, "think", reasoning=True))
        for piece in text.split(" "):
            append(ev.ReplyDelta(number, piece + " "))
        append(ev.ReplyFinished(number, text + " ", "stop", 0.5, 10, 5))
        append(ev.CellStarted(number, cell, "python", "x = llm_query('p')"))
        append(ev.SubcallStarted(cell, number, "m", "p", key=f"{self.id}-{number}"))
        append(ev.SubcallSent(number))
        append(ev.SubcallFinished(number, f"reply {number}", "", 0.1))
        append(ev.CellOutput(cell, "stdout", "out \ud800"))
        append(ev.CellFinished(cell, "ok", "", 0.2))
        append(ev.Feedback(number, "go on", trouble=False))

    def end(self, value: Value | None = None) -> None:
        self.answer = value
        if value is not None:
            self.log.append(ev.Answered(value.type, value.text))
        self.log.append(ev.RunFinished("done" if value else "failed", "", 1.0))


Told = list[tuple[str, str]]


def use(path: Path | str, work: Callable[[RunStore], Any], told: Told | None = None) -> Told:
    """Do something with a store on an event loop, close it, and return what it told of runs."""
    told = [] if told is None else told

    async def main() -> None:
        store = RunStore(path, tell=lambda run, text: told.append((run.id, text)))
        try:
            outcome = work(store)
            if asyncio.iscoroutine(outcome):
                await outcome
        finally:
            await store.close()

    asyncio.run(main())
    return told


def read(path: Path, run_id: str) -> tuple[list[ev.Event], Value | None]:
    found: list[Any] = []
    use(path, lambda store: found.extend([store.events(run_id), store.answer(run_id)]))
    return found[0], found[1]


FOUR = Value("json", "int", "4", b"4")


def test_a_run_is_read_as_it_was_written(own_store: Path) -> None:
    logs: list[EventLog] = []

    def work(store: RunStore) -> None:
        run = ToyRun(store, "r-1")
        run.turn(1)
        run.turn(2, "no code")
        run.end(FOUR)
        logs.append(run.log)

    use(own_store, work)
    events, answer = read(own_store, "r-1")

    assert answer == FOUR
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    mine, theirs = (Trace.of(each).document() for each in (logs[0].events, events))
    assert theirs == mine
    written = [event for event in logs[0].events if not isinstance(event, ev.ReplyDelta)]
    for event, original in zip((e for e in events if not isinstance(e, ev.ReplyDelta)), written, strict=True):
        assert event.to_json() | {"seq": 0} == original.to_json() | {"seq": 0}


def test_the_file_and_its_folder_are_the_users_alone(own_store: Path) -> None:
    def work(store: RunStore) -> None:
        ToyRun(store, "r-1").turn(1)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in own_store.parent.iterdir()}
        assert set(modes) == {"runs.sqlite", "runs.sqlite-wal", "runs.sqlite-shm"}
        assert set(modes.values()) == {0o600}

    use(own_store, work)
    assert stat.S_IMODE(own_store.parent.stat().st_mode) == 0o700


async def two_rounds() -> None:
    """Wait as long as whoever follows a run."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def test_what_a_turn_consists_of_is_written_before_anybody_is_told(own_store: Path) -> None:
    async def work(store: RunStore) -> None:
        run = ToyRun(store, "r-1")
        following = run.log.follow()
        other = sqlite3.connect(own_store)
        for event in (
            ev.TurnStarted(1),
            ev.ReplyFinished(1, "x", "stop", 1.0),
            ev.CellStarted(1, "1.1", "python", "x"),
            ev.SubcallStarted("1.1", 1, "m", "p", key="k"),
            ev.SubcallFinished(1, "r", "", 1.0),
            ev.CellFinished("1.1", "ok", "", 1.0),
            ev.Feedback(1, "on", trouble=False),
            ev.Answered("int", "4"),
            ev.RunFinished("done", "", 1.0),
        ):
            run.log.append(event)
            assert (await anext(following))[-1] is event
            if not isinstance(event, ev.TurnStarted | ev.CellStarted | ev.SubcallStarted | ev.SubcallFinished):
                ((count,),) = other.execute("SELECT count(*) FROM events")
                assert count == len(run.log.events)
        other.close()
        await following.aclose()

    use(own_store, work)


def test_everything_else_is_written_a_moment_later(own_store: Path) -> None:
    async def work(store: RunStore) -> None:
        run = ToyRun(store, "r-1")
        other = sqlite3.connect(own_store)
        for event in (
            ev.TurnStarted(1),
            ev.CellStarted(1, "1.1", "python", "x"),
            ev.SubcallStarted("1.1", 1, "m", "p", key="k"),
            ev.SubcallFinished(1, "r", "", 1.0),
        ):
            run.log.append(event)
            deadline = time.monotonic() + 60
            while other.execute("SELECT count(*) FROM events").fetchone() != (len(run.log.events),):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.01)
        other.close()

    use(own_store, work)


def test_replies_to_sub_calls_are_written_together(own_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_BRIEF", "_MOMENT"):
        monkeypatch.setattr(f"kowalski_jupyter.service.store.store.{name}", 600.0)

    async def work(store: RunStore) -> None:
        run = ToyRun(store, "r-1")
        other = sqlite3.connect(own_store)
        run.log.append(ev.TurnStarted(1))
        for number in (1, 2, 3):
            run.log.append(ev.SubcallStarted("1.1", number, "m", "p", key=f"k-{number}"))
            run.log.append(ev.SubcallFinished(number, "r", "", 1.0))
            await two_rounds()
            assert other.execute("SELECT count(*) FROM replies").fetchone() == (0,)
        run.log.append(ev.Feedback(1, "on", trouble=False))
        await two_rounds()
        assert other.execute("SELECT count(*) FROM replies").fetchone() == (3,)
        other.close()

    use(own_store, work)


def test_replies_are_found_by_key_and_failed_ones_are_not_kept(own_store: Path) -> None:
    async def work(store: RunStore) -> None:
        run = ToyRun(store, "r-1")
        run.turn(1)
        run.log.append(ev.SubcallStarted("1.1", 9, "m", "p", key="bad"))
        run.log.append(ev.SubcallFinished(9, "", "it broke", 0.1))
        run.log.append(ev.SubcallStarted("1.1", 10, "m", "p", key="known"))
        run.log.append(ev.SubcallFinished(10, "old", "", 0.0, remembered=True))
        await two_rounds()
        assert dict(store.replies) == {"r-1-1": "reply 1"}
        assert store.replies.get("bad") is None
        assert len(store.replies) == 1

    use(own_store, work)


def test_runs_are_listed_newest_first_without_child_runs(own_store: Path) -> None:
    def work(store: RunStore) -> None:
        for number in range(3):
            ToyRun(store, f"r-{number}").end(FOUR)
        ToyRun(store, "r-2.1", parent="r-2").end(FOUR)
        assert [run.id for run in store.runs()] == ["r-2", "r-1", "r-0"]
        assert [run.id for run in store.runs(1)] == ["r-2"]
        assert store.runs(1)[0].summary["state"] == "done"
        assert store.children("r-2") == ["r-2.1"]
        assert store.run("r-9") is None

    use(own_store, work)


def _write_and_wait(path: Path, ready: Any) -> None:
    async def main() -> None:
        store = RunStore(path)
        ToyRun(store, "r-other").turn(1)
        for _ in range(2):  # rounds of the loop, after which it is written (see `EventLog.follow`)
            await asyncio.sleep(0)
        ready.set()
        await asyncio.sleep(600)

    asyncio.run(main())


def test_a_run_of_another_process_is_going_on_until_that_process_is_gone(own_store: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    writer = context.Process(target=_write_and_wait, args=(own_store, ready))
    writer.start()
    assert ready.wait(30)
    seen: list[bool] = []

    def work(store: RunStore) -> None:
        ToyRun(store, "r-mine").turn(1)
        seen.append(store.run("r-other").going_on)  # type: ignore[union-attr]
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
        seen.append(store.run("r-other").going_on)  # type: ignore[union-attr]
        assert not store.run("r-other").ended  # type: ignore[union-attr]
        assert store.run("r-mine").going_on  # type: ignore[union-attr]
        assert len(store.events("r-other")) > 5

    told = use(own_store, work)
    writer.close()
    assert seen == [True, False]
    assert not told


def test_a_file_that_is_no_database_is_moved_aside(own_store: Path) -> None:
    own_store.parent.mkdir()
    own_store.write_text("these are not the runs" * 100)
    use(own_store, lambda store: ToyRun(store, "r-1").end(FOUR))

    (aside,) = own_store.parent.glob("runs.sqlite.damaged-*")
    assert aside.read_text().startswith("these are not")
    assert read(own_store, "r-1")[1] == FOUR


def test_damage_that_shows_while_a_run_goes_on_costs_none_of_its_events(own_store: Path) -> None:
    use(own_store, lambda store: [ToyRun(store, f"r-{i}").turn(1) for i in range(50)])
    whole = bytearray(own_store.read_bytes())
    whole[4096:] = os.urandom(len(whole) - 4096)  # the first page says what tables there are
    own_store.write_bytes(whole)

    def work(store: RunStore) -> None:
        run = ToyRun(store, "r-new")
        run.turn(1)
        run.end(FOUR)

    use(own_store, work)
    events, answer = read(own_store, "r-new")
    assert isinstance(events[0], ev.RunStarted)
    assert isinstance(events[-1], ev.RunFinished)
    assert answer == FOUR
    assert list(own_store.parent.glob("runs.sqlite.damaged-*"))


@pytest.mark.parametrize(
    ("change", "said"),
    [("PRAGMA user_version = 99", "newer version"), ("PRAGMA application_id = 7", "another program")],
)
def test_a_file_that_is_not_ours_to_write_is_left_alone(own_store: Path, change: str, said: str) -> None:
    use(own_store, lambda store: ToyRun(store, "r-1").end(FOUR))
    other = sqlite3.connect(own_store, isolation_level=None)
    other.execute(change)
    other.execute("PRAGMA journal_mode = DELETE")
    other.close()
    before = own_store.read_bytes()

    def work(store: RunStore) -> None:
        run = ToyRun(store, "r-2")
        run.turn(1)
        run.end(FOUR)
        assert store.events("r-1") == []

    told = use(own_store, work)
    assert [run for run, _ in told] == ["r-2"]
    assert said in told[0][1]
    assert "c.Kowalski.store" in told[0][1]
    assert own_store.read_bytes() == before


def test_a_folder_that_cannot_be_made_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    def work(store: RunStore) -> None:
        run = ToyRun(store, "r-1")
        run.turn(1)
        run.end(FOUR)

    told = use(tmp_path / "file" / "runs.sqlite", work)
    assert len(told) == 1
    assert "not stored" in told[0][1]


def test_a_full_disk_is_told_once_and_what_is_missing_is_written_when_there_is_room(own_store: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    async def work(store: RunStore) -> None:
        ToyRun(store, "r-0").end(FOUR)
        run = ToyRun(store, "r-1")
        largest = (own_store.parent / "runs.sqlite-wal").stat().st_size + 4096
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, limits[1]))
        try:
            for number in range(1, 6):
                run.turn(number, "x" * 10_000)
            await two_rounds()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        deadline = time.monotonic() + 60
        while [event.time for event in store.events("r-1")[-1:]] != [run.log.events[-1].time]:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        run.end(FOUR)

    try:
        told = use(own_store, work)
    finally:
        signal.signal(signal.SIGXFSZ, ignored)
    assert len(told) == 1
    assert "cannot be written" in told[0][1]
    assert isinstance(read(own_store, "r-1")[0][-1], ev.RunFinished)


def test_a_locked_file_is_waited_for_and_told_only_when_it_lasts(own_store: Path) -> None:
    told: Told = []

    async def work(store: RunStore) -> None:
        ToyRun(store, "r-0").end(FOUR)
        other = sqlite3.connect(own_store, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        run = ToyRun(store, "r-1")
        run.turn(1)
        await asyncio.sleep(0.3)
        assert not told
        deadline = time.monotonic() + 60
        while not told:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        other.execute("ROLLBACK")
        other.close()
        while len(store.events("r-1")) < 10:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)

    use(own_store, work, told)
    assert len(told) == 1


@pytest.mark.parametrize(("size", "kept"), [(10, True), (1 << 20, True), ((64 << 20) + 1, False)])
def test_answers_are_stored_as_values_up_to_a_bound(own_store: Path, size: int, kept: bool) -> None:
    value = Value("bytes", "bytes", "b'…'", bytes(size))

    async def work(store: RunStore) -> None:
        run = ToyRun(store, "r-1")
        await store.keep(run.id, value)
        run.end(value)

    use(own_store, work)
    events, answer = read(own_store, "r-1")

    assert (answer == value) is kept
    assert [event.text for event in events if isinstance(event, ev.Answered)] == ["b'…'"]


def test_old_runs_are_dropped_and_those_that_go_on_are_not(own_store: Path) -> None:
    def work(store: RunStore) -> None:
        going_on = ToyRun(store, "r-on")
        going_on.turn(1)
        for number in range(20):
            run = ToyRun(store, f"r-{number}")
            run.turn(1)
            run.end(FOUR)
        keep_up(own_store, Room(runs=5))
        assert [run.id for run in store.runs()] == ["r-19", "r-18", "r-17", "r-16", "r-15", "r-on"]
        assert store.events("r-3") == []
        assert store.answer("r-3") is None
        keep_up(own_store, Room(bytes=3000))
        assert 1 <= len(store.runs()) < 6

    use(own_store, work)


def test_nothing_is_written_where_the_user_wants_nothing_written(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)

    def work(store: RunStore) -> None:
        ToyRun(store, "r-1").end(FOUR)
        assert store.answer("r-1") == FOUR

    use(":memory:", work)
    assert list(tmp_path.iterdir()) == []
