r"""Turn the data of an `Answer` back into a live value.

The bytes come from a sandbox, so they are treated as hostile: nothing is unpickled, and sizes are
checked before memory is taken. The formats, by kind:

=========== ==========================================================================================
``json``    JSON in UTF-8 (lone surrogates kept); what it lacks is ``{"$": tag, "v": …}``, see `_TAGS`
``bytes``   the bytes
``numpy``   NumPy's ``.npy``, without objects
``arrow``   an Arrow IPC stream
``pandas``  the same, of a DataFrame
``series``  the same, of a table with one column
``polars``  ``F`` (DataFrame) or ``S`` (Series), then polars' IPC file of a table
=========== ==========================================================================================
"""

from __future__ import annotations

import datetime as dt
import decimal
import fractions
import io
import json
import math
import uuid
from collections.abc import Callable, Mapping
from typing import Any


def decode_answer(kind: str, data: bytes) -> Any:
    """Return the value.

    Raises:
        ValueError: the data is not what `kind` says, or a library that it needs is missing.
    """
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise ValueError(f"The answer has the unknown kind {kind!r}.")
    try:
        return decoder(data)
    except ImportError as error:
        raise ValueError(f"The answer is a table, and {error.name} is not installed here.") from error
    except Exception as error:
        raise ValueError(f"The answer ({kind}) cannot be read: {error}") from error


def _json(data: bytes) -> Any:
    return _untagged(json.loads(data.decode("utf-8", "surrogatepass")))


def _untagged(value: Any) -> Any:
    if isinstance(value, list):
        return [_untagged(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "$" in value:
        return _TAGS[value["$"]](value["v"])
    return {key: _untagged(item) for key, item in value.items()}


def _float(text: str) -> float:
    value = float(text)
    if math.isfinite(value):
        raise ValueError("a finite number needs no tag")
    return value


_TAGS: Mapping[str, Callable[[Any], Any]] = {
    "int": lambda v: int(v, 16),
    "float": _float,
    "complex": complex,
    "bytes": bytes.fromhex,
    "tuple": lambda v: tuple(_untagged(item) for item in v),
    "set": lambda v: {_untagged(item) for item in v},
    "dict": lambda v: {_untagged(key): _untagged(item) for key, item in v},
    "timedelta": lambda v: dt.timedelta(*v),
    "datetime": dt.datetime.fromisoformat,
    "date": dt.date.fromisoformat,
    "time": dt.time.fromisoformat,
    "decimal": decimal.Decimal,
    "fraction": fractions.Fraction,
    "uuid": uuid.UUID,
}


def _numpy(data: bytes) -> Any:
    """Read ``.npy`` by hand as far as needed: NumPy's reader believes the size that the header states."""
    import numpy as np  # noqa: PLC0415 - optional
    from numpy.lib import format as npy  # noqa: PLC0415

    file = io.BytesIO(data)
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("it holds objects")
    if math.prod(shape) * dtype.itemsize != len(data) - file.tell():
        raise ValueError("its size is not what its header says")
    array = np.frombuffer(data, dtype=dtype, offset=file.tell())
    return array.reshape(shape, order="F" if fortran else "C").copy(order="K")


def _arrow(data: bytes) -> Any:
    import pyarrow as pa  # noqa: PLC0415 - optional

    table = pa.ipc.open_stream(data).read_all()
    table.validate(full=True)
    return table


def _pandas(data: bytes) -> Any:
    import pandas as pd  # noqa: PLC0415, F401 - optional; names what is missing

    return _arrow(data).to_pandas()


def _series(data: bytes) -> Any:
    series = _pandas(data).iloc[:, 0]
    return series.rename(None) if series.name == "" else series


def _polars(data: bytes) -> Any:
    import polars as pl  # noqa: PLC0415 - optional

    frame = pl.read_ipc(io.BytesIO(data[1:]))
    return frame.to_series() if data[:1] == b"S" else frame


_DECODERS: Mapping[str, Callable[[bytes], Any]] = {
    "json": _json,
    "bytes": bytes,
    "numpy": _numpy,
    "arrow": _arrow,
    "pandas": _pandas,
    "series": _series,
    "polars": _polars,
}
