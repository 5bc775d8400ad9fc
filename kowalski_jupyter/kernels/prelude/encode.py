"""A value as data, on its way to the run: never pickle, since whoever reads it must not have to trust this process.

`encode` chooses one of the kinds of `Value` (kernels/base.py); decode.py is the reader
and describes the formats.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from .figures import encode_figure
from .tagged import tagged
from .text import valid

TEXT = 20_000
"""Characters of a value's text form that are sent."""

_Encoded = tuple[str, bytes]
"""Kind and data of a `Value`."""


def encode(value: Any) -> tuple[str, str, str, bytes]:
    """Return ``(kind, type, text, data)`` for `value`.

    Raises:
        TypeError: it holds something that cannot be sent; the text says what can.
    """
    kind, data = encode_figure(value) or _encode_table(value) or _encode_plain(value)
    text = value if isinstance(value, str) else repr(value)
    if len(text) > TEXT:
        text = f"{text[: TEXT // 2]}…{text[-TEXT // 2 :]}"
    return kind, type(value).__name__, valid(text), data


def _encode_plain(value: Any) -> _Encoded:
    if isinstance(value, bytes | bytearray | memoryview):
        return "bytes", bytes(value)
    try:
        text = json.dumps(tagged(value), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        raise TypeError("The value is nested too deeply to be sent. Give a flatter value.") from None
    return "json", text.encode("utf-8", "surrogatepass")


def _encode_table(value: Any) -> _Encoded | None:
    """Encode tables and arrays. A library that was never imported cannot have made the value."""
    for library, encoder in _TABLES.items():
        if (module := sys.modules.get(library)) and (encoded := encoder(module, value)):
            return encoded
    return None


def _encode_pandas(pandas: Any, value: Any) -> _Encoded | None:
    if isinstance(value, pandas.DataFrame):
        return "pandas", _through_arrow(value)
    if isinstance(value, pandas.Series):
        return "series", _through_arrow(value.to_frame(name="" if value.name is None else value.name))
    return None


def _through_arrow(frame: Any) -> bytes:
    try:
        import pyarrow as pa  # noqa: PLC0415 - optional, slow to import

        return _arrow_stream(pa, pa.Table.from_pandas(frame))
    except ImportError:
        reason = "pyarrow is not installed"
    except Exception as error:  # noqa: BLE001 - ArrowInvalid, ValueError, TypeError, NotImplementedError …
        reason = " ".join(str(part) for part in error.args).splitlines()[0]
    raise TypeError(f"This table cannot be sent ({reason}). A list of dicts can: .to_dict('records')")


def _encode_polars(polars: Any, value: Any) -> _Encoded | None:
    if isinstance(value, polars.LazyFrame):
        value = value.collect()
    if not isinstance(value, polars.DataFrame | polars.Series):
        return None
    series = isinstance(value, polars.Series)
    buffer = io.BytesIO()
    try:
        (value.to_frame() if series else value).write_ipc(buffer)
    except Exception as error:
        raise TypeError(f"This table cannot be sent ({error}). A list of dicts can: .to_dicts()") from error
    return "polars", (b"S" if series else b"F") + buffer.getvalue()


def _encode_pyarrow(pa: Any, value: Any) -> _Encoded | None:
    if isinstance(value, pa.Table | pa.RecordBatch):
        return "arrow", _arrow_stream(pa, value)
    return None


def _arrow_stream(pa: Any, table: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write(table)
    return bytes(sink.getvalue())


def _encode_numpy(numpy: Any, value: Any) -> _Encoded | None:
    if not isinstance(value, numpy.ndarray) or value.dtype.hasobject:
        return None
    buffer = io.BytesIO()
    numpy.save(buffer, value, allow_pickle=False)
    return "numpy", buffer.getvalue()


_TABLES: Mapping[str, Callable[[Any, Any], _Encoded | None]] = {
    "pandas": _encode_pandas,
    "polars": _encode_polars,
    "pyarrow": _encode_pyarrow,
    "numpy": _encode_numpy,
}
