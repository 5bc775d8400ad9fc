"""A run's answer as data: never pickle, since whoever reads it must not have to trust this process.

`encode` chooses one of the kinds of `Answer` (kernels/base.py); values.py in kernels/ is the reader
and describes the formats.
"""

from __future__ import annotations

import datetime
import decimal
import fractions
import io
import json
import math
import pathlib
import sys
import uuid
from collections.abc import Mapping, Set
from typing import Any

TEXT = 20_000
"""Characters of an answer's text form that are sent."""
_DEEPEST = 200
_WHAT_CAN = "text, bytes, numbers, dates, lists, dicts, sets, tables (pandas, polars, pyarrow) and NumPy arrays"


def encode(value: Any) -> tuple[str, str, str, bytes]:
    """Return ``(kind, type, text, data)`` for `value`.

    Raises:
        TypeError: it holds something that cannot be sent; the text says what can.
    """
    kind, data = _table(value) or _plain(value)
    text = value if isinstance(value, str) else repr(value)
    if len(text) > TEXT:
        text = f"{text[: TEXT // 2]}…{text[-TEXT // 2 :]}"
    return kind, type(value).__name__, text, data


def _plain(value: Any) -> tuple[str, bytes]:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "bytes", bytes(value)
    try:
        return "json", json.dumps(_tagged(value, ()), allow_nan=False, separators=(",", ":")).encode()
    except RecursionError:
        raise TypeError("The answer is nested too deeply to be sent. Give a flatter value.") from None


def _table(value: Any) -> tuple[str, bytes] | None:
    """Encode tables and arrays. A library that was never imported cannot have made the value."""
    modules = sys.modules
    pandas, polars, pyarrow, numpy = (modules.get(name) for name in ("pandas", "polars", "pyarrow", "numpy"))
    if pandas is not None and isinstance(value, pandas.DataFrame):
        return "pandas", _from_pandas(value)
    if pandas is not None and isinstance(value, pandas.Series):
        name = "" if value.name is None else value.name
        return "series", _from_pandas(value.to_frame(name=name))
    if polars is not None and isinstance(value, polars.LazyFrame):
        value = value.collect()
    if polars is not None and isinstance(value, (polars.DataFrame, polars.Series)):
        series = isinstance(value, polars.Series)
        frame = value.to_frame() if series else value
        buffer = io.BytesIO(b"S" if series else b"F")
        buffer.seek(1)
        try:
            frame.write_ipc(buffer)
        except Exception as error:
            raise TypeError(f"This table cannot be sent ({error}). A list of dicts can: .to_dicts()") from None
        return "polars", buffer.getvalue()
    if pyarrow is not None and isinstance(value, (pyarrow.Table, pyarrow.RecordBatch)):
        return "arrow", _arrow_stream(value)
    if numpy is not None and isinstance(value, numpy.ndarray) and not value.dtype.hasobject:
        buffer = io.BytesIO()
        numpy.save(buffer, value, allow_pickle=False)
        return "numpy", buffer.getvalue()
    return None


def _from_pandas(frame: Any) -> bytes:
    try:
        import pyarrow  # noqa: PLC0415 - optional, slow to import

        return _arrow_stream(pyarrow.Table.from_pandas(frame))
    except ImportError:
        reason = "pyarrow is not installed"
    except Exception as error:  # noqa: BLE001 - Arrow, ValueError, TypeError, NotImplementedError …
        reason = str(error).splitlines()[0]
    raise TypeError(f"This table cannot be sent ({reason}). A list of dicts can: .to_dict('records')")


def _arrow_stream(table: Any) -> bytes:
    import pyarrow  # noqa: PLC0415 - optional, slow to import

    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write(table)
    return bytes(sink.getvalue())


def _tagged(value: Any, above: tuple[int, ...]) -> Any:
    """Return `value` as JSON; what JSON lacks becomes ``{"$": tag, "v": …}``."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value) if -(1 << 63) <= value < 1 << 64 else {"$": "int", "v": hex(value)}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$": "float", "v": repr(float(value))}
    if id(value) in above or len(above) > _DEEPEST:
        raise TypeError("The answer contains itself or is nested too deeply to be sent.")
    above = (*above, id(value))
    if isinstance(value, Mapping):
        return _mapping(value, above)
    if isinstance(value, list):
        return [_tagged(item, above) for item in value]
    for tag, kinds in (("tuple", tuple), ("set", Set)):
        if isinstance(value, kinds):
            return {"$": tag, "v": [_tagged(item, above) for item in value]}
    return _leaf(value, above)


def _mapping(value: Mapping[Any, Any], above: tuple[int, ...]) -> Any:
    if "$" not in value and all(isinstance(key, str) for key in value):
        return {str.__str__(key): _tagged(item, above) for key, item in value.items()}
    return {"$": "dict", "v": [[_tagged(key, above), _tagged(item, above)] for key, item in value.items()]}


def _leaf(value: Any, above: tuple[int, ...]) -> Any:
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    if pandas is not None and (value is pandas.NA or value is pandas.NaT):
        return None
    if numpy is not None and isinstance(value, numpy.generic) and not isinstance(value.item(), numpy.generic):
        return _tagged(value.item(), above)
    if numpy is not None and isinstance(value, numpy.ndarray):
        return _tagged(value.tolist(), above)
    if pandas is not None and isinstance(value, (pandas.Series, pandas.Index)):
        return _tagged(value.tolist(), above)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"$": "bytes", "v": bytes(value).hex()}
    if isinstance(value, complex):
        return {"$": "complex", "v": repr(complex(value))}
    if isinstance(value, datetime.timedelta):
        return {"$": "timedelta", "v": [value.days, value.seconds, value.microseconds]}
    for tag, kind in (("datetime", datetime.datetime), ("date", datetime.date), ("time", datetime.time)):
        if isinstance(value, kind):
            return {"$": tag, "v": value.isoformat()}
    for tag, other in (("decimal", decimal.Decimal), ("fraction", fractions.Fraction), ("uuid", uuid.UUID)):
        if isinstance(value, other):
            return {"$": tag, "v": str(value)}
    if isinstance(value, pathlib.PurePath):
        return str(value)
    if isinstance(value, range):
        return [*value]
    raise TypeError(f"{type(value).__name__} cannot be sent as an answer. These can: {_WHAT_CAN}.")
