"""The SQLite file that keeps runs: opened, checked, and moved aside when it is damaged."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from pathlib import Path
from typing import Final

_log = logging.getLogger(__name__)

MEMORY: Final = ":memory:"
"""In place of a file's path: keep runs only while this process lives."""

_APPLICATION: Final = 0x4B4F5741
_VERSION: Final = 1
_PATIENCE: Final = 0.02
"""Seconds to wait for another process's write: on the event loop, where nothing may wait for long."""

_TABLES: Final = """
CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    started REAL NOT NULL,
    writer TEXT NOT NULL,
    state TEXT NOT NULL,
    parent TEXT NOT NULL,
    summary TEXT NOT NULL,
    bytes INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX runs_by_start ON runs (started);
CREATE TABLE events (
    run TEXT NOT NULL, seq INTEGER NOT NULL, data TEXT NOT NULL, PRIMARY KEY (run, seq)
) WITHOUT ROWID;
CREATE TABLE answers (run TEXT PRIMARY KEY, kind TEXT NOT NULL, type TEXT NOT NULL, text TEXT NOT NULL, data BLOB);
CREATE TABLE replies (
    key TEXT PRIMARY KEY, reply TEXT NOT NULL, model TEXT NOT NULL, time REAL NOT NULL
) WITHOUT ROWID;
"""


class StoreError(Exception):
    """Runs cannot be stored or read. The message is for the user."""


def open_database(path: Path | str) -> sqlite3.Connection:
    """Open the file, make it if it is not there, and see that it is ours.

    A damaged file is moved aside, so that nothing in it is lost for whoever can repair it, and a new one begun.

    Returns:
        A connection without transactions of its own (``BEGIN`` and ``COMMIT`` are the caller's) that never waits long.

    Raises:
        StoreError: there is no room or no right, or the file is another program's or a newer version's.
    """
    try:
        return _open(path)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise StoreError(f"{path} cannot be opened ({error}).") from error
        move_aside(Path(path))
    except OSError as error:
        raise StoreError(f"{path} cannot be opened ({error.strerror}).") from error
    try:
        return _open(path)
    except (sqlite3.DatabaseError, OSError) as error:
        raise StoreError(f"{path} cannot be opened ({error}).") from error


def is_damage(error: sqlite3.Error) -> bool:
    """Return whether the error says that the file's contents are not what they should be."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def move_aside(path: Path) -> None:
    """Rename a damaged file and what belongs to it, and say so in the log.

    Raises:
        OSError: the folder does not allow it.
    """
    aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    _log.warning("The stored runs in %s are damaged. The file is now %s, and a new one was begun.", path, aside.name)


def _open(path: Path | str) -> sqlite3.Connection:
    if path != MEMORY:
        path = Path(path)
        if not path.parent.exists():
            path.parent.mkdir(mode=0o700, parents=True)
        # SQLite gives its other files the mode of this one.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    database = sqlite3.connect(path, timeout=5.0, isolation_level=None, cached_statements=64)
    try:
        _prepare(database, path)
    except BaseException:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection, path: Path | str) -> None:
    """Check whose file it is, make its tables if it has none, and set how it is written."""
    new = _is_new(database, path)
    database.execute("PRAGMA journal_mode = WAL")
    # Survives the death of the process; a power cut may take the last runs' ends, never the file.
    database.execute("PRAGMA synchronous = NORMAL")
    # A checkpoint waits for the disk: it is made apart from the event loop (upkeep.py).
    database.execute("PRAGMA wal_autocheckpoint = 0")
    if new:
        database.execute("BEGIN IMMEDIATE")
        if _is_new(database, path):  # another process may have been faster
            for statement in filter(str.strip, _TABLES.split(";")):
                database.execute(statement)
            database.execute(f"PRAGMA application_id = {_APPLICATION}")
            database.execute(f"PRAGMA user_version = {_VERSION}")
        database.execute("COMMIT")
    database.execute(f"PRAGMA busy_timeout = {int(_PATIENCE * 1000)}")


def _is_new(database: sqlite3.Connection, path: Path | str) -> bool:
    """Return whether there is nothing in the file yet; refuse what we should not write to."""
    application, version, tables = (
        int(database.execute(query).fetchone()[0])
        for query in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_schema")
    )
    if tables and application != _APPLICATION:
        raise StoreError(f"{path} is a database of another program. Name another file in c.Kowalski.store.")
    if version > _VERSION:
        raise StoreError(
            f"{path} was written by a newer version of kowalski-jupyter. Install that version, or name another file "
            "in c.Kowalski.store."
        )
    return not tables
