r"""Turn the data of a `Value` (kernels/base.py) back into a live value.

The host uses this file as well (values.py in kernels/). Whichever side reads, the bytes come from code that nobody
vouches for, so they are treated as hostile: nothing is unpickled, and sizes are checked before memory is taken. The
formats, by kind:

=========== ==========================================================================================
``json``    JSON in UTF-8 (lone surrogates kept); what it lacks is ``{"$": tag, "v": …}``, see `_TAGS`
``bytes``   the bytes
``numpy``   NumPy's ``.npy``, without objects
``arrow``   an Arrow IPC stream
``pandas``  the same, of a DataFrame
``series``  the same, of a table with one column
``polars``  ``F`` (DataFrame) or ``S`` (Series), then polars' IPC file of a table
``png``     a PNG file, of a figure
``plotly``  the JSON of a Plotly figure
=========== ==========================================================================================
"""

from __future__ import annotations

import datetime as dt
import decimal
import fractions
import io
import json
import math
import struct
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


def decode(kind: str, data: bytes) -> Any:
    """Return the live value.

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


def _hashable(value: Any) -> Any:
    """Return an item of a set, or a key, as it was: a set in there can only have been a frozen one."""
    if isinstance(value, tuple):
        return tuple(_hashable(item) for item in value)
    return frozenset(value) if isinstance(value, set) else value


def _fraction(text: str) -> fractions.Fraction:
    """Read ``3/4``. Python itself reads ``1e999999999`` too, and takes all memory for it."""
    return fractions.Fraction(*map(int, text.split("/")))


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
    "set": lambda v: {_hashable(_untagged(item)) for item in v},
    "dict": lambda v: {_hashable(_untagged(key)): _untagged(item) for key, item in v},
    "timedelta": lambda v: dt.timedelta(*v),
    "datetime": dt.datetime.fromisoformat,
    "date": dt.date.fromisoformat,
    "time": dt.time.fromisoformat,
    "decimal": decimal.Decimal,
    "fraction": _fraction,
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


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure as a PNG file, which Jupyter shows."""

    png: bytes

    def __repr__(self) -> str:
        width, height = _png_size(self.png)
        return f"<Picture, {width} x {height} pixels>"

    def _repr_png_(self) -> bytes:
        return self.png


_PNG_START = struct.Struct(">8sI4sII")
_MOST_PIXELS = 64_000_000
"""A picture may unpack to this many pixels: 256 MB in whatever shows it."""


def _png(data: bytes) -> Picture:
    width, height = _png_size(data)
    if not 0 < width * height <= _MOST_PIXELS:
        raise ValueError(f"a picture of {width} x {height} pixels")
    return Picture(data)


def _png_size(data: bytes) -> tuple[int, int]:
    """Return a picture's width and height in pixels, from its first chunk (W3C's PNG specification, 5.2 and 11.2.1).

    Raises:
        ValueError: it is no PNG file.
    """
    if len(data) < _PNG_START.size:
        raise ValueError("it is no PNG file")
    signature, _length, kind, width, height = _PNG_START.unpack_from(data)
    if (signature, kind) != (b"\x89PNG\r\n\x1a\n", b"IHDR"):
        raise ValueError("it is no PNG file")
    return width, height


@dataclass(frozen=True, slots=True)
class PlotlyFigure:
    """A Plotly figure where Plotly is not installed: Jupyter's front ends show it all the same."""

    json: dict[str, Any]

    def __repr__(self) -> str:
        return f"<PlotlyFigure, {len(self.json['data'])} traces; install plotly to have it as a plotly Figure>"

    def _repr_mimebundle_(self, **_options: Any) -> dict[str, Any]:
        return {"application/vnd.plotly.v1+json": self.json, "text/plain": repr(self)}


def _plotly(data: bytes) -> Any:
    figure = json.loads(data)
    if not isinstance(figure, dict) or not isinstance(figure.get("data"), list):
        raise ValueError("it is no figure")  # noqa: TRY004 - the data is wrong, not the call
    try:
        from plotly.graph_objects import Figure  # noqa: PLC0415 - optional, slow to import
    except ImportError:
        return PlotlyFigure(figure)
    return Figure(figure)


_DECODERS: Mapping[str, Callable[[bytes], Any]] = {
    "json": _json,
    "bytes": bytes,
    "numpy": _numpy,
    "arrow": _arrow,
    "pandas": _pandas,
    "series": _series,
    "polars": _polars,
    "png": _png,
    "plotly": _plotly,
}
