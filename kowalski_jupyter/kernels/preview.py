"""What a variable looks like, in a line and a glimpse: for a model that will never see all of it."""

from __future__ import annotations

import reprlib
import sys
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

HEAD = 400
TAIL = 200
_MOST_NAMES = 30


@dataclass(frozen=True, slots=True)
class Preview:
    """`summary` is one line; `head` and `tail` are the value's ends, `tail` empty if `head` shows all."""

    summary: str
    head: str = ""
    tail: str = ""


def describe(value: Any) -> Preview:
    """Describe `value`."""
    if isinstance(value, str):
        lines = value.count("\n") + (not value.endswith("\n") and bool(value))
        return _ends(f"{_count(len(value), 'character')}, {_count(lines, 'line')}", value)
    if isinstance(value, bytes | bytearray | memoryview):
        size = value.nbytes if isinstance(value, memoryview) else len(value)
        return Preview(_count(size, "byte"), repr(bytes(value[:100])))
    return _describe_table(value) or _describe_plain(value)


def describe_path(path: Path) -> Preview:
    """Describe a file or a folder."""
    if not path.is_dir():
        return Preview(f"file {path.name}, {_count(path.stat().st_size, 'byte')}")
    entries = sorted(entry.name + "/" * entry.is_dir() for entry in path.iterdir())
    return Preview(f"folder {path.name} with {_count(len(entries), 'entry', 'entries')}", _listed(entries))


def _describe_table(value: Any) -> Preview | None:  # noqa: PLR0911 - one per kind of table
    modules = sys.modules
    pandas, polars, pyarrow, numpy = (modules.get(name) for name in ("pandas", "polars", "pyarrow", "numpy"))
    if pandas and isinstance(value, pandas.DataFrame):
        columns = [f"{name} {dtype}" for name, dtype in zip(value.columns, value.dtypes, strict=True)]
        return _table(value.shape, columns, value.head(3).to_string(max_colwidth=60))
    if polars and isinstance(value, polars.DataFrame):
        columns = [f"{name} {dtype}" for name, dtype in value.schema.items()]
        return _table(value.shape, columns, _records(value.head(3).to_dicts()))
    if polars and isinstance(value, polars.LazyFrame):
        columns = [f"{name} {dtype}" for name, dtype in value.collect_schema().items()]
        return Preview(f"a query with the columns {_listed(columns)}")
    if pyarrow and isinstance(value, pyarrow.Table | pyarrow.RecordBatch):
        columns = [f"{column.name} {column.type}" for column in value.schema]
        return _table(value.shape, columns, _records(value.slice(0, 3).to_pylist()))
    if any(library and isinstance(value, library.Series) for library in (pandas, polars)):
        return Preview(f"{_count(len(value), 'value')} of {value.dtype}", _records(value.head(5).to_list()))
    if numpy and isinstance(value, numpy.ndarray):
        shown = _short.repr(value.ravel()[:6].tolist())
        return Preview(f"array of shape {value.shape}, {value.dtype}", shown)
    return None


def _describe_plain(value: Any) -> Preview:
    if isinstance(value, Mapping):
        keys = _listed([_short.repr(key) for key in islice(value, _MOST_NAMES + 1)], len(value))
        return Preview(f"{_count(len(value), 'key')}: {keys}" if value else "empty", _cut(_short.repr(value)))
    if isinstance(value, Sequence | AbstractSet):
        if not value:
            return Preview("empty")
        first = next(iter(value))
        kind = type(first).__name__
        length = ""
        if isinstance(first, Mapping):
            # Types, no values: a small model takes the first record for the one that is asked about.
            fields = [f"{_short.repr(key)} ({type(first[key]).__name__})" for key in islice(first, _MOST_NAMES + 1)]
            keys = _listed(fields, len(first))
            return Preview(f"{_count(len(value), 'item')}, the first is a {kind} with the keys {keys}")
        if isinstance(first, Sequence):
            length = f" of length {len(first):,}"
        summary = f"{_count(len(value), 'item')}, the first is a {kind}{length}"
        return Preview(summary, f"[0]: {_cut(_short.repr(first))}")
    return Preview(type(value).__name__, _cut(_short.repr(value)))


def _table(shape: tuple[int, int], columns: Sequence[str], head: str) -> Preview:
    size = f"{_count(shape[0], 'row')} × {_count(shape[1], 'column')}"  # noqa: RUF001 - the sign itself is meant
    return Preview(f"{size}: {_listed(columns)}", _cut(head, 2 * HEAD))


def _ends(summary: str, text: str) -> Preview:
    if len(text) <= HEAD + TAIL:
        return Preview(summary, text)
    return Preview(summary, text[:HEAD], text[-TAIL:])


def _records(items: Sequence[Any]) -> str:
    return "\n".join(_short.repr(item) for item in items)


def _listed(names: Sequence[str], total: int | None = None) -> str:
    """Join `names`, at most 30, saying how many more there are of `total`."""
    total = len(names) if total is None else total
    shown = ", ".join(names[:_MOST_NAMES])
    return f"{shown} and {total - _MOST_NAMES:,} more" if total > _MOST_NAMES else shown


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _cut(text: str, most: int = HEAD) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


_short = reprlib.Repr()
_short.maxstring = _short.maxother = 120
_short.maxlist = _short.maxtuple = _short.maxset = _short.maxdict = 6
_short.maxlevel = 4
