"""Values as JSON that every language reads, without tags: what JSON lacks becomes a text, a list or null.

Tables become lists of records. Used for what kernels of other languages are given and what they are shared.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import sys
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

_DEEPEST = 200


def as_json(value: Any) -> str:
    """Return `value` as JSON.

    Raises:
        TypeError: something in it has no such form.
    """
    return json.dumps(plain(value), allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def as_csv(value: Any) -> str:
    """Return a table as CSV with a header line."""
    frame = _table(value)
    if frame is None:
        raise TypeError(f"{type(value).__name__} is no table")
    import csv  # noqa: PLC0415 - only here
    import io  # noqa: PLC0415 - only here

    columns, rows = frame
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(item) for item in row] for row in rows)
    return out.getvalue()


def is_missing(value: Any) -> bool:
    """Return whether `value` is one of pandas' signs for what is missing. One of them counts as a datetime."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and (value is pandas.NaT or value is pandas.NA)


def is_table(value: Any) -> bool:
    """Return whether `as_csv` takes it."""
    return _table(value) is not None


def _cell(value: Any) -> Any:
    return value if isinstance(value, float) and math.isinf(value) else plain(value)


def write(text: str) -> None:
    """Write `text` to standard output as UTF-8."""
    sys.stdout.buffer.write(text.encode("utf-8", "surrogatepass"))
    sys.stdout.buffer.flush()


def plain(value: Any, depth: int = 0) -> Any:
    """Return `value` as something that `json.dumps` takes and any language understands."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if depth > _DEEPEST:
        raise TypeError("The value contains itself or is nested too deeply. Give a flatter value.")
    return _plain_object(value, depth + 1)


def _plain_object(value: Any, depth: int) -> Any:  # noqa: PLR0911 - one per shape of value
    if (frame := _table(value)) is not None:
        columns, rows = frame
        return [{column: plain(item, depth) for column, item in zip(columns, row, strict=True)} for row in rows]
    if isinstance(value, Mapping):
        return {_key(key): plain(item, depth) for key, item in value.items()}
    if isinstance(value, list | tuple | range | AbstractSet):
        return [plain(item, depth) for item in value]
    if is_missing(value):
        return None
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    for method in ("tolist", "item"):  # NumPy's arrays and scalars, pandas' and polars' series
        if callable(convert := getattr(value, method, None)):
            return plain(convert(), depth)
    return str(value)


def _key(key: Any) -> str:
    found = plain(key)
    return found if isinstance(found, str) else json.dumps(found)


def _table(value: Any) -> tuple[list[str], Iterable[tuple[Any, ...]]] | None:
    """Return the names of the columns, and the rows, if `value` is a table."""
    pandas, polars, pyarrow = (sys.modules.get(name) for name in ("pandas", "polars", "pyarrow"))
    if pandas is not None and isinstance(value, pandas.DataFrame):
        if value.index.name is not None or not isinstance(value.index, pandas.RangeIndex):
            value = value.reset_index()
        value = value.rename(columns=str)
        return list(value.columns), value.astype(object).where(value.notna(), None).itertuples(index=False, name=None)
    if polars is not None and isinstance(value, polars.LazyFrame):
        value = value.collect()
    if polars is not None and isinstance(value, polars.DataFrame):
        return value.columns, value.iter_rows()
    if pyarrow is not None and isinstance(value, pyarrow.Table | pyarrow.RecordBatch):
        return list(value.schema.names), zip(*(column.to_pylist() for column in value.columns), strict=True)
    return None
