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

WHAT_CAN = (
    "text, bytes, numbers, dates, lists, dicts, sets, tables (pandas, polars, pyarrow), NumPy arrays and, by "
    "itself, a matplotlib or Plotly figure"
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
    """Return the JSON of a text, a number or None, and `_NOT_SIMPLE` for anything else."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value) if -_LARGEST <= value < _LARGEST else {"$": "int", "v": hex(value)}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$": "float", "v": repr(float(value))}
    return _NOT_SIMPLE


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
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    if pandas is not None and value is pandas.NA:
        return None
    if pandas is not None and isinstance(value, pandas.Series | pandas.Index):
        return value.tolist()
    if numpy is not None and isinstance(value, numpy.datetime64 | numpy.timedelta64):
        item = value.item()  # a bare integer if its unit is finer than Python's microseconds
        return value.astype(f"{value.dtype.kind}8[us]").item() if isinstance(item, int) else item
    if numpy is not None and isinstance(value, numpy.ndarray):
        return value.tolist()
    if numpy is not None and isinstance(value, numpy.generic) and not isinstance(value.item(), numpy.generic):
        return value.item()
    if isinstance(value, pathlib.PurePath):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be sent. These can: {WHAT_CAN}.")
