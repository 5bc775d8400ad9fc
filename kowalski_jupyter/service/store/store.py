"""Runs at rest: every event is written to SQLite as it happens, so that no death of a process loses a turn.

What a turn consists of (the run, a reply, a cell's end, the answer) is committed in the next round of the event loop,
while the run waits for what it has asked for next. The replies to sub-calls, of which code may ask for hundreds in a
second, are committed together after a few milliseconds, and what has no price a moment later; or all of it with the
next event of a turn. A store that cannot be written never stops a run: the run is told once, and writing is tried
again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from kowalski_jupyter.kernels.base import Value
from kowalski_jupyter.rlm import events as ev
from kowalski_jupyter.rlm.log import EventLog
from kowalski_jupyter.service.store.database import MEMORY, StoreError, is_damage, move_aside, open_database
from kowalski_jupyter.service.store.rows import StoredRun, from_rows, to_row
from kowalski_jupyter.service.store.upkeep import Room, insert_answer, keep_up, write_answer
from kowalski_jupyter.service.store.writer import close_writer, is_alive, new_writer

_log = logging.getLogger(__name__)

_SOON: Final = (
    ev.ReplyFinished,
    ev.CellFinished,
    ev.Folded,
    ev.Feedback,
    ev.Answered,
)
"""What is written, with all before it, before anybody is told of it, but after the run has asked for what comes next
(see `EventLog.follow`)."""
_SUMMED_UP: Final = (ev.RunStarted, ev.TurnStarted, ev.RunFinished)
_ANSWER_BYTES: Final = 64 << 20
"""The largest answer that is stored as a value; of a larger one only the text is."""
_SMALL_BYTES: Final = 256 << 10
"""Larger answers are written by a thread: only their own run waits for the disk."""
_BRIEF: Final = 0.005
"""Seconds that the reply to a sub-call may wait to be written together with others: a commit for each is a fifth of all
that lies between two sub-calls."""
_MOMENT: Final = 0.05
"""Seconds that any other event may wait."""
_PAUSE: Final = 0.1
"""Seconds between two tries to write where the first one failed."""
_LOCKED_SECONDS: Final = 2.0
_UPKEEP_BYTES: Final = 4 << 20


class Recorded(Protocol):
    """A run that is being written down."""

    @property
    def id(self) -> str:
        """Its name."""
        ...

    @property
    def log(self) -> EventLog:
        """Its events."""
        ...

    @property
    def answer(self) -> Value | None:
        """Its answer, once there is one."""
        ...

    def summary(self) -> dict[str, Any]:
        """Return the run's row in a list of runs."""
        ...


@dataclass(slots=True)
class _Writing:
    """How far a run is written, and how many characters that took; key and model of its sub-calls by number."""

    run: Recorded
    written: int = 0
    size: int = 0
    calls: dict[int, tuple[str, str]] = field(default_factory=dict)
    told: bool = False


class RunStore:
    """The stored runs of a user. Belongs to one event loop; several processes may have the same file open.

    Args:
        path: the file, made if it is not there; ``:memory:`` keeps nothing after this process.
        room: how much is kept.
        tell: called with a run that cannot be written, and why, once for each.
    """

    def __init__(
        self, path: Path | str, *, room: Room | None = None, tell: Callable[[Recorded, str], None] = lambda *_: None
    ) -> None:
        self._path = path
        self._writer = new_writer()
        self._room = room or Room()
        self._tell = tell
        self._writing: dict[str, _Writing] = {}
        self._dirty: dict[str, _Writing] = {}
        self._flush_due: asyncio.TimerHandle | None = None
        self._waiting = False
        self._failing_since: float | None = None
        self._apart: set[asyncio.Future[None]] = set()
        self._since_upkeep = _UPKEEP_BYTES  # the first write looks after what others left
        self._trouble = ""
        self._database: sqlite3.Connection | None = None
        self._open()

    def note(self, run: Recorded, event: ev.Event) -> None:
        """Write what is new in a run's log, of which `event` is the last."""
        writing = self._writing.get(run.id)
        if writing is None:
            writing = self._writing[run.id] = _Writing(run)
        if isinstance(event, ev.ReplyDelta):
            return
        self._dirty[run.id] = writing
        if isinstance(event, ev.RunStarted | ev.RunFinished):
            self._flush()
        elif isinstance(event, _SOON):
            self._flush_within(0.0)
        else:
            self._flush_within(_BRIEF if isinstance(event, ev.SubcallFinished) else _MOMENT)

    async def keep(self, run_id: str, answer: Value) -> None:
        """Write an answer that is too large to be written with the event that tells of it, before there is one."""
        if self._database is not None and self._path != MEMORY and _SMALL_BYTES < len(answer.data) <= _ANSWER_BYTES:
            await asyncio.shield(self._do_apart(write_answer, run_id, answer))

    def runs(self, number: int = 100) -> list[StoredRun]:
        """Return the newest runs, newest first, without those that another run started."""
        query = "SELECT id, writer, state, summary FROM runs WHERE parent = '' ORDER BY started DESC LIMIT ?"
        return [self._stored(row) for row in self._rows(query, number)]

    def run(self, run_id: str) -> StoredRun | None:
        """Return one run, or None if it is not stored."""
        rows = self._rows("SELECT id, writer, state, summary FROM runs WHERE id = ?", run_id)
        return self._stored(rows[0]) if rows else None

    def events(self, run_id: str) -> list[ev.Event]:
        """Return a run's events, numbered anew: the pieces of each reply are one."""
        return from_rows(data for (data,) in self._rows("SELECT data FROM events WHERE run = ? ORDER BY seq", run_id))

    def children(self, run_id: str) -> list[str]:
        """Return the runs that a run's code has started, oldest first."""
        return [child for (child,) in self._rows("SELECT id FROM runs WHERE parent = ? ORDER BY started", run_id)]

    def answer(self, run_id: str) -> Value | None:
        """Return a run's answer; None if there is none, or it was too large to be stored."""
        rows = self._rows("SELECT kind, type, text, data FROM answers WHERE run = ?", run_id)
        return Value(*rows[0]) if rows else None

    @property
    def replies(self) -> Mapping[str, str]:
        """The replies to all runs' sub-calls, by key (rlm/calls/memo.py)."""
        return _Replies(self._rows)

    async def close(self) -> None:
        """Write what is left and close the file."""
        self._waiting = False
        self._flush()
        self._dirty.clear()
        close_writer(self._writer)
        await asyncio.gather(*self._apart)
        if self._database is not None:
            self._database.close()
            self._database = None

    def _open(self) -> None:
        try:
            self._database = open_database(self._path)
        except StoreError as error:
            self._trouble = str(error)
            _log.warning("Runs are not stored: %s", error)

    def _flush_within(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        if self._flush_due is None or due < self._flush_due.when():
            self._cancel_flush()
            self._flush_due = loop.call_at(due, self._flush)

    def _cancel_flush(self) -> None:
        if self._flush_due is not None:
            self._flush_due.cancel()
            self._flush_due = None

    def _try_again(self) -> None:
        self._waiting = False
        self._flush()

    def _flush(self) -> None:
        """Write what is new in all runs, in one transaction."""
        self._cancel_flush()
        if not self._dirty:
            return
        if self._database is None:
            self._told(self._trouble)
            self._dirty.clear()
            return
        if self._waiting:
            return
        try:
            written = self._write(self._database)
        except sqlite3.DatabaseError as error:
            self._failed(error)
            return
        for run_id, count in written.items():
            writing = self._dirty.pop(run_id)
            writing.written = count
            if writing.run.log.finished:
                del self._writing[run_id]
        self._failing_since = None
        if self._since_upkeep >= _UPKEEP_BYTES and self._path != MEMORY:
            self._since_upkeep = 0
            self._do_apart(keep_up, self._room)

    def _do_apart(self, work: Callable[..., None], *arguments: Any) -> asyncio.Future[None]:
        """Have work on the file done by a thread; `close` waits for it."""
        future = asyncio.get_running_loop().run_in_executor(None, work, Path(self._path), *arguments)
        self._apart.add(future)
        future.add_done_callback(self._apart.discard)
        return future

    def _write(self, database: sqlite3.Connection) -> dict[str, int]:
        """Write, and return how many events of each run are written now."""
        database.execute("BEGIN IMMEDIATE")
        try:
            sizes = {run_id: _write_run(database, self._writer, each) for run_id, each in self._dirty.items()}
            database.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # a full disk has rolled back already
                database.execute("ROLLBACK")
            raise
        self._since_upkeep += sum(sizes.values())
        for run_id, size in sizes.items():
            self._dirty[run_id].size += size
        return {run_id: len(writing.run.log.events) for run_id, writing in self._dirty.items()}

    def _failed(self, error: sqlite3.DatabaseError) -> None:
        """Try again a little later. Tell of it, unless another process is only writing just now."""
        now = time.monotonic()
        self._waiting = True
        self._failing_since = self._failing_since or now
        if is_damage(error) and self._path != MEMORY:
            self._begin_anew()
            return
        locked = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
        if not locked or now - self._failing_since > _LOCKED_SECONDS:
            self._told(f"{self._path} cannot be written ({error}).")
        asyncio.get_running_loop().call_later(_PAUSE, self._try_again)

    def _begin_anew(self) -> None:
        """Put a file that turned out to be damaged aside, and write what is going on into a new one, from its start."""
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
            self._database = None
        try:
            move_aside(Path(self._path))
        except OSError as error:
            self._trouble = f"{self._path} is damaged and cannot be moved ({error.strerror})."
            return
        for writing in self._writing.values():
            writing.written = writing.size = 0
        self._dirty = dict(self._writing)
        self._waiting = False
        self._open()
        self._flush()

    def _told(self, trouble: str) -> None:
        for writing in self._dirty.values():
            if not writing.told:
                writing.told = True
                self._tell(writing.run, f"This run is not stored: {trouble}")

    def _rows(self, query: str, *values: Any) -> list[Any]:
        """Return what a query finds; nothing where the file cannot be read, which is told in the log."""
        if self._database is None:
            return []
        try:
            return self._database.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            _log.warning("The stored runs in %s cannot be read: %s", self._path, error)
            return []

    def _stored(self, row: tuple[str, str, str, str]) -> StoredRun:
        run_id, writer, state, summary = row
        return StoredRun(run_id, json.loads(summary), ended=bool(state), going_on=not state and is_alive(writer))


class _Replies(Mapping[str, str]):
    """Looks replies up when they are asked for."""

    def __init__(self, rows: Callable[..., list[Any]]) -> None:
        self._rows = rows

    def __getitem__(self, key: str) -> str:
        for (reply,) in self._rows("SELECT reply FROM replies WHERE key = ?", key):
            return str(reply)
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return (key for (key,) in self._rows("SELECT key FROM replies"))

    def __len__(self) -> int:
        return int(self._rows("SELECT count(*) FROM replies")[0][0])


def _write_run(database: sqlite3.Connection, writer: str, writing: _Writing) -> int:
    """Write what is new in one run, and return the characters that it took."""
    run = writing.run
    new = run.log.events[writing.written :]
    rows = [(run.id, event.seq, to_row(event, run.log.events)) for event in new if not isinstance(event, ev.ReplyDelta)]
    size = sum(len(data) for _, _, data in rows)
    database.executemany("INSERT OR REPLACE INTO events VALUES (?, ?, ?)", rows)
    for event in new:
        if isinstance(event, ev.SubcallStarted):
            writing.calls[event.call] = ("" if event.run else event.key, event.model)
        elif isinstance(event, ev.SubcallFinished):
            key, model = writing.calls.get(event.call, ("", ""))
            if key and not event.error and not event.remembered:
                database.execute(
                    "INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?)", (key, event.reply, model, event.time)
                )
        elif isinstance(event, ev.Answered) and (answer := run.answer) is not None:
            size += min(len(answer.data), _ANSWER_BYTES)
            if len(answer.data) <= _SMALL_BYTES:
                insert_answer(database, run.id, answer)
        if isinstance(event, _SUMMED_UP):
            _write_head(database, writer, run, event, writing.size + size)
    return size


def _write_head(database: sqlite3.Connection, writer: str, run: Recorded, event: ev.Event, size: int) -> None:
    """Write the run's row: at its start, at each turn, at its end."""
    first = run.log.events[0]
    assert isinstance(first, ev.RunStarted)  # noqa: S101 (every run begins with it)
    state = event.state if isinstance(event, ev.RunFinished) else ""
    summary = json.dumps(run.summary())
    database.execute(
        "INSERT INTO runs (id, started, writer, state, parent, summary, bytes) VALUES (?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (id) DO UPDATE SET state = excluded.state, summary = excluded.summary, bytes = excluded.bytes",
        (run.id, first.time, writer, state, first.parent, summary, size),
    )
