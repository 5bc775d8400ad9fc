"""The results of a batch, kept in a file as they come: each once, and no more of them in memory than are looked at."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, overload

import platformdirs

from kowalski_jupyter.api.result import Result, RlmError
from kowalski_jupyter.api.schema import Schema, as_instance
from kowalski_jupyter.service.socket.wire import SentAnswer, ServiceError

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS tasks (
    batch TEXT NOT NULL, number INTEGER NOT NULL, key TEXT NOT NULL, run TEXT NOT NULL, state TEXT NOT NULL,
    kind TEXT, data BLOB, error TEXT, document TEXT, time REAL NOT NULL, PRIMARY KEY (batch, number)
) WITHOUT ROWID
"""
_KEPT_SECONDS: Final = 30 * 86400.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a task came to: an answer, or an error with the best answer that there was; and its run, if any."""

    answer: SentAnswer | None
    error: str | None
    document: Mapping[str, Any] | None


def batches_file() -> Path:
    """Return the file of named batches: beside that of runs."""
    runs = os.environ.get("KOWALSKI_STORE", "")
    folder = Path(runs).parent if runs and runs != ":memory:" else platformdirs.user_data_path("kowalski-jupyter")
    return folder / "batches.sqlite"


class KeptBatch:
    """One batch in the file. For one thread at a time.

    Args:
        name: of the batch; None for one that nobody will go on with, in a file that goes with it.
        keys: of its tasks, in order.

    Raises:
        RlmError: the file cannot be used.
    """

    def __init__(self, name: str | None, keys: Sequence[str]) -> None:
        self.name = name or ""
        self._path = batches_file() if name else _own_file(self)
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._open()
            self._prepare(keys)
        except (OSError, sqlite3.Error) as error:
            raise RlmError(f"The results of a batch cannot be kept in {self._path}: {error}.") from None

    def _open(self) -> None:
        self._database = sqlite3.connect(self._path, timeout=10.0, isolation_level=None, check_same_thread=False)
        weakref.finalize(self, self._database.close)
        # Survives the death of the process, at any moment; a power cut may take the last results.
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.execute(_TABLE)

    def _prepare(self, keys: Sequence[str]) -> None:
        """Have a row for each task; those that are others than before lose what was kept of them."""
        with self._transaction():
            self._database.execute("DELETE FROM tasks WHERE time < ?", (time.time() - _KEPT_SECONDS,))
            known = dict(self._rows("SELECT number, key FROM tasks WHERE batch = ?", self.name))
            if len(known) > len(keys):
                self._database.execute("DELETE FROM tasks WHERE batch = ? AND number >= ?", (self.name, len(keys)))
            new = [(self.name, number, key, time.time()) for number, key in enumerate(keys) if known.get(number) != key]
            self._database.executemany(
                "INSERT OR REPLACE INTO tasks (batch, number, key, run, state, time) VALUES (?, ?, ?, '', 'new', ?)",
                new,
            )

    # -- while it goes on --------------------------------------------------------------------------------

    def missing(self) -> list[tuple[int, str]]:
        """Return the tasks that have no result, each with the id of the run that was begun for it, if one was."""
        return list(
            self._rows("SELECT number, run FROM tasks WHERE batch = ? AND state IN ('new', 'going')", self.name)
        )

    def failed(self) -> int:
        """Return how many have ended without an answer."""
        [(count,)] = self._rows("SELECT count(*) FROM tasks WHERE batch = ? AND state = 'failed'", self.name)
        return int(count)

    def began(self, number: int, run: str) -> None:
        """Note the run that was begun for a task."""
        self._database.execute(
            "UPDATE tasks SET run = ?, state = 'going' WHERE batch = ? AND number = ? AND state IN ('new', 'going')",
            (run, self.name, number),
        )

    def keep(self, number: int, outcome: Outcome) -> bool:
        """Keep a result, unless there is one; return whether it was kept."""
        state = "done" if outcome.error is None else "failed"
        document = None if outcome.document is None else json.dumps(outcome.document)
        changed = self._database.execute(
            "UPDATE tasks SET state = ?, kind = ?, data = ?, error = ?, document = ?, time = ? "
            "WHERE batch = ? AND number = ? AND state IN ('new', 'going')",
            (
                *(state, outcome.answer and outcome.answer.kind, outcome.answer and outcome.answer.data),
                *(outcome.error, document, time.time(), self.name, number),
            ),
        )
        return changed.rowcount == 1

    def outcome(self, number: int) -> Outcome:
        """Return what a task came to."""
        [(kind, data, error, document)] = self._rows(
            "SELECT kind, data, error, document FROM tasks WHERE batch = ? AND number = ?", self.name, number
        )
        answer = None if kind is None else SentAnswer(kind, data)
        return Outcome(answer, error, None if document is None else json.loads(document))

    def forget(self) -> None:
        """Keep nothing of it any more."""
        self._database.execute("DELETE FROM tasks WHERE batch = ?", (self.name,))

    def _rows(self, query: str, *parameters: Any) -> Iterator[tuple[Any, ...]]:
        yield from self._database.execute(query, parameters)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")


class Results(Sequence[Result | RlmError]):
    """What a batch came to, in the order of its tasks; each is read when it is looked at.

    Args:
        batch: where they are kept.
        count: how many.
        schema: what the answers are instances of.
    """

    def __init__(self, batch: KeptBatch, count: int, schema: Schema | None) -> None:
        self._batch = batch
        self._count = count
        self._schema = schema

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Result | RlmError: ...
    @overload
    def __getitem__(self, index: slice) -> list[Result | RlmError]: ...
    def __getitem__(self, index: int | slice) -> Result | RlmError | list[Result | RlmError]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(self._count))]
        return read_outcome(self._batch.outcome(range(self._count)[index]), self._schema)

    def __repr__(self) -> str:
        failed = self._batch.failed()
        return f"Results({self._count} tasks{f', {failed} failed' if failed else ''})"

    def forget(self) -> None:
        """Keep the results no longer: a batch of the same name begins anew. They cannot be looked at any more."""
        self._batch.forget()

    @property
    def values(self) -> list[Any]:
        """The answers in order; an `RlmError` stands where there is none."""
        return [each.value if isinstance(each, Result) else each for each in self]


def read_outcome(outcome: Outcome, schema: Schema | None) -> Result | RlmError:
    """Return a task's result as a live one."""
    document = None if outcome.document is None else dict(outcome.document)
    value = None
    try:
        if outcome.answer is not None:
            value = outcome.answer.value()
        if outcome.error is None and document is not None:
            return Result(as_instance(schema, value), document)
    except (ValueError, ServiceError) as error:
        return RlmError(" ".join(str(error).split()), partial=value, document=document)
    return RlmError(outcome.error or "The task has no result.", partial=value, document=document)


def _own_file(owner: object) -> Path:
    """Return a file in a folder that is removed with its owner."""
    folder = tempfile.TemporaryDirectory(prefix="kowalski-batch-", ignore_cleanup_errors=True)
    remove: Callable[[], None] = folder.cleanup
    weakref.finalize(owner, remove)
    return Path(folder.name) / "batch.sqlite"
