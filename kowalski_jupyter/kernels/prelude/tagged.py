"""Python values as JSON that keeps their types: what JSON lacks becomes ``{"$": tag, "v": …}``."""

from __future__ import annotations

import datetime as dt
import decimal
import fractions
import math
import pathlib
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from .plain import is_missing

WHAT_CAN = (
    "text, bytes, numbers, dates, lists, dicts, sets, NumPy arrays and, by itself, a matplotlib or Plotly figure or a "
    "table (pandas, polars, pyarrow)"
)
_DEEPEST = 200
_LARGEST = 1 << 63
"""Integers from here on are written in hexadecimal: Python limits decimal ones to 4300 digits."""


def tagged(value: Any, above: tuple[int, ...] = ()) -> Any:  # noqa: PLR0911 - one per shape of value
    """Return `value` as something that `json.dumps` takes; `above` holds the ids of what it is part of.

    Raises:
        TypeError: it, or something in it, cannot be sent.
    """
    simple = _simple(value)
    if simple is not _NOT_SIMPLE:
        return simple
    if id(value) in above or len(above) > _DEEPEST:
        raise TypeError("The value contains itself or is nested too deeply to be sent. Give a flatter value.")
    above = (*above, id(value))
    if isinstance(value, Mapping):
        if "$" not in value and all(isinstance(key, str) for key in value):
            return {str.__str__(key): tagged(item, above) for key, item in value.items()}
        return {"$": "dict", "v": [[tagged(key, above), tagged(item, above)] for key, item in value.items()]}
    if isinstance(value, list | range):
        return [tagged(item, above) for item in value]
    for tag, kinds in (("tuple", tuple), ("set", AbstractSet)):
        if isinstance(value, kinds):
            return {"$": tag, "v": [tagged(item, above) for item in value]}
    for kind, tag, convert in _LEAVES:
        if isinstance(value, kind):
            return {"$": tag, "v": convert(value)}
    return tagged(_as_python(value), above)


_NOT_SIMPLE = object()


def _simple(value: Any) -> Any:
    """Return the JSON of a text, a number or what is missing, and `_NOT_SIMPLE` for anything else."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value) if -_LARGEST <= value < _LARGEST else {"$": "int", "v": hex(value)}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$": "float", "v": repr(float(value))}
    return None if is_missing(value) else _NOT_SIMPLE


_LEAVES: Sequence[tuple[Any, str, Callable[[Any], Any]]] = (
    ((bytes, bytearray, memoryview), "bytes", lambda value: bytes(value).hex()),
    (complex, "complex", lambda value: repr(complex(value))),
    (dt.timedelta, "timedelta", lambda value: [value.days, value.seconds, value.microseconds]),
    (dt.datetime, "datetime", lambda value: value.isoformat()),
    (dt.date, "date", lambda value: value.isoformat()),
    (dt.time, "time", lambda value: value.isoformat()),
    (decimal.Decimal, "decimal", str),
    (fractions.Fraction, "fraction", str),
    (uuid.UUID, "uuid", str),
)


def _as_python(value: Any) -> Any:
    """Return a library's scalar or array as Python's own."""
    numpy, pandas, polars = (sys.modules.get(name) for name in ("numpy", "pandas", "polars"))
    if pandas is not None and isinstance(value, pandas.Series | pandas.Index):
        return value.tolist()
    if polars is not None and isinstance(value, polars.Series):
        return value.to_list()
    if numpy is not None and isinstance(value, numpy.ndarray | numpy.generic):
        if value.dtype.kind in "mM" and numpy.datetime_data(value.dtype)[0] in _FINER:
            value = value.astype(f"{value.dtype.kind}8[us]")
        if not isinstance(item := value.tolist(), numpy.generic):
            return item
    if isinstance(value, pathlib.PurePath):
        return str(value)
    name = type(value).__name__
    if rows := _rows_of(value):
        raise TypeError(f"{name} can be sent by itself only, not inside of something. Put its rows there: {rows}")
    raise TypeError(f"{name} cannot be sent. These can: {WHAT_CAN}.")


_FINER = frozenset({"ns", "ps", "fs", "as"})
"""NumPy's units of time that are finer than Python's microseconds: such a value would become a bare integer."""

_TABLES = (
    ("pandas", "DataFrame", ".to_dict('records')"),
    ("polars", "DataFrame", ".to_dicts()"),
    ("polars", "LazyFrame", ".collect().to_dicts()"),
    ("pyarrow", "Table", ".to_pylist()"),
    ("pyarrow", "RecordBatch", ".to_pylist()"),
)


def _rows_of(value: Any) -> str:
    """Return how code gets the rows of `value` as a list, if it is a table."""
    for library, kind, rows in _TABLES:
        if (module := sys.modules.get(library)) and isinstance(value, getattr(module, kind)):
            return rows
    return ""
