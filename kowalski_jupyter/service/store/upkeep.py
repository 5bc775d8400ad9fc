"""Work on the stored runs that takes its time, apart from the event loop: old ones dropped, large answers written."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kowalski_jupyter.kernels.base import Value

_log = logging.getLogger(__name__)

_REPLIES_AGE = 90 * 24 * 3600.0
_REPLIES_KEPT = 200_000


@dataclass(frozen=True, slots=True)
class Room:
    """How much is kept: `runs` and `bytes` of them, child runs included. The oldest go first."""

    runs: int = 1000
    bytes: int = 1 << 30


def keep_up(path: Path, room: Room) -> None:
    """Drop what is too old or too much, and write the log through to the file. Runs in a thread of its own."""
    with _connected(path) as database:
        _drop(database, room)
        database.execute("PRAGMA wal_checkpoint(PASSIVE)")


def write_answer(path: Path, run_id: str, answer: Value) -> None:
    """Store a large answer. Runs in a thread of its own."""
    with _connected(path) as database:
        insert_answer(database, run_id, answer)


def insert_answer(database: sqlite3.Connection, run_id: str, answer: Value) -> None:
    """Store an answer."""
    database.execute(
        "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)",
        (run_id, answer.kind, answer.type, answer.text, answer.data),
    )


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    """Give a connection of one's own, which may wait. What fails is only logged: nobody waits for it."""
    try:
        database = sqlite3.connect(path, timeout=5.0, isolation_level=None)
        try:
            yield database
        finally:
            database.close()
    except sqlite3.Error as error:
        _log.warning("The stored runs in %s were not kept up: %s", path, error)


def _drop(database: sqlite3.Connection, room: Room) -> None:
    """Drop the oldest runs that have ended, and the replies that nobody will ask for again."""
    number, size = 0, 0
    surplus = []
    for run, bytes_, ended in database.execute("SELECT id, bytes, state != '' FROM runs ORDER BY started DESC"):
        number, size = number + 1, size + bytes_
        if ended and (number > room.runs or size > room.bytes):
            surplus.append((run,))
    for run in surplus:
        some = "DELETE FROM events WHERE run = ? AND seq IN (SELECT seq FROM events WHERE run = ? LIMIT 200)"
        while database.execute(some, run * 2).rowcount:  # a few at a time: the event loop wants to write in between
            pass
        database.execute("DELETE FROM answers WHERE run = ?", run)
        database.execute("DELETE FROM runs WHERE id = ?", run)
    database.execute("DELETE FROM replies WHERE time < ?", (time.time() - _REPLIES_AGE,))
    database.execute(
        "DELETE FROM replies WHERE time < (SELECT time FROM replies ORDER BY time DESC LIMIT 1 OFFSET ?)",
        (_REPLIES_KEPT,),
    )
