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

from .decode import decode
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
    text = _shown(value, data)
    if len(text) > TEXT:
        text = f"{text[: TEXT // 2]}…{text[-TEXT // 2 :]}"
    return kind, type(value).__name__, valid(text), data


def to_json(value: Any) -> bytes:
    """Return plain data as JSON with tags. Raises TypeError like `encode`."""
    try:
        text = json.dumps(tagged(value), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        raise TypeError("The value is nested too deeply to be sent. Give a flatter value.") from None
    data = text.encode("utf-8", "surrogatepass")
    if '"$"' in text:
        _check(data)
    return data


def _check(data: bytes) -> None:
    """Have what cannot be read again refused while code can still give something else."""
    try:
        decode("json", data)
    except ValueError as error:
        raise TypeError(
            f"The value cannot be sent ({error.__cause__}). Lists, and dicts whose keys are texts, can."
        ) from None


def _shown(value: Any, data: bytes) -> str:
    try:
        return value if isinstance(value, str) else repr(value)
    except ValueError:  # Python writes no integer of more than 4300 digits
        return hex(value) if isinstance(value, int) else data[:TEXT].decode(errors="replace")


def _encode_plain(value: Any) -> _Encoded:
    if isinstance(value, bytes | bytearray | memoryview):
        return "bytes", bytes(value)
    return "json", to_json(value)


def _encode_table(value: Any) -> _Encoded | None:
    """Encode tables and arrays. A library that was never imported cannot have made the value."""
    for library, encoder in _TABLES.items():
        if (module := sys.modules.get(library)) and (encoded := encoder(module, value)):
            return encoded
    return None


def _encode_pandas(pandas: Any, value: Any) -> _Encoded | None:
    if isinstance(value, pandas.DataFrame):
        return "pandas", _through_arrow(value, _NO_TABLE, ".to_dict('records')")
    if isinstance(value, pandas.Series):
        frame = value.to_frame(name="" if value.name is None else value.name)
        return "series", _through_arrow(frame, _NO_SERIES, ".tolist()")
    return None


_NO_TABLE = "This table cannot be sent ({}). A list of dicts can: {}"
_NO_SERIES = "This Series cannot be sent ({}). A list can: {}"


def _through_arrow(frame: Any, refusal: str, instead: str) -> bytes:
    try:
        import pyarrow as pa  # noqa: PLC0415 - optional, slow to import

        table = pa.Table.from_pandas(frame)
        if _comes_back(table):
            return _arrow_stream(pa, table)
        reason = "a column or the index holds what does not come back, such as intervals: .astype(str) makes text of it"
    except ImportError:
        reason = "pyarrow is not installed"
    except Exception as error:  # noqa: BLE001 - ArrowInvalid, ValueError, TypeError, NotImplementedError …
        reason = " ".join(str(part) for part in error.args).splitlines()[0]
    raise TypeError(refusal.format(reason, instead))


def _comes_back(table: Any) -> bool:
    """Return whether what Arrow has made of a pandas table can be one again, by its types alone."""
    try:
        table.slice(0, 0).to_pandas()
    except Exception:  # noqa: BLE001 - whatever pandas' types raise
        return False
    return True


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
        refusal = _NO_SERIES.format(error, ".to_list()") if series else _NO_TABLE.format(error, ".to_dicts()")
        raise TypeError(refusal) from error
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


def _refuse_masked(masked: Any, value: Any) -> None:
    if isinstance(value, masked.MaskedArray):
        raise TypeError(
            "A masked array cannot be sent: its mask would be lost. Its .tolist() can, with None for what is masked."
        )


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
    "numpy.ma": _refuse_masked,
    "numpy": _encode_numpy,
}
