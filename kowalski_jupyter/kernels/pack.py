"""Write one of the user's variables to disk, the way a child kernel reads it (prelude/load.py).

Runs in the user's own kernel. Nothing here imports pandas, polars, pyarrow or NumPy unless the value
is one of theirs, and no value is copied as a whole.
"""

from __future__ import annotations

import keyword
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from . import preview
from .base import DataItem
from .plain import PackError, dump

_PIECE = 1 << 18
"""Characters that are encoded at a time."""

_Packed = tuple[str, Mapping[str, Any]]
"""Kind and meta of a `DataItem`."""


def pack(name: str, value: Any, folder: Path) -> DataItem:
    """Write `value` into `folder` and describe it.

    Args:
        name: What it will be called in the child kernel.
        value: Text, bytes, tables (pandas, polars, pyarrow), NumPy arrays, plain data (numbers, dates, lists,
            dicts, sets … of such), or the path of a file or folder, which is not copied.
        folder: An existing folder, best on the disk where the kernels' data is.

    Raises:
        PackError: it cannot be passed; one line that says what can.
        OSError: there is no room, or `folder` is not there.
    """
    if not name.isidentifier() or keyword.iskeyword(name):
        raise PackError(f"{name!r} is not a name that a variable can have.")
    if isinstance(value, Path):
        return _pack_path(name, value)
    path = folder / f"{name}.data"
    try:
        with path.open("wb") as file:
            kind, meta = write(name, value, file)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    seen = preview.describe(value)
    return DataItem(
        name=name,
        kind=kind,  # type: ignore[arg-type]  # one of write's
        type=type(value).__name__,
        summary=seen.summary,
        path=path,
        size=path.stat().st_size,
        head=seen.head,
        tail=seen.tail,
        meta=meta,
    )


def write(name: str, value: Any, file: IO[bytes], *, same: bool = False) -> _Packed:
    """Write `value`, which is no path, to `file`, and return its kind and meta. Raises and `same`: as in `dump`."""
    if isinstance(value, str):
        return "text", _write_text(value, file)
    if isinstance(value, bytes | bytearray | memoryview):
        file.write(value)
        return "bytes", {"mutable": isinstance(value, bytearray)}
    # A library that was never imported cannot have made the value.
    for library, writer in _TABLES.items():
        if (module := sys.modules.get(library)) and (packed := writer(module, value, file)):
            return packed
    dump(name, value, file, same=same)
    return "plain", {}


def _write_text(text: str, file: IO[bytes]) -> Mapping[str, Any]:
    """Write UTF-8, with lone surrogates kept and line ends untouched."""
    largest = 0
    for start in range(0, len(text), _PIECE):
        piece = text[start : start + _PIECE]
        largest = max(largest, _largest(piece)) if largest < _ASTRAL else largest
        file.write(piece.encode("utf-8", "surrogatepass"))
    return {"characters": len(text), "largest": largest}


_ASTRAL = 0x10FFFF


def _largest(piece: str) -> int:
    """Return the upper end of the range (as Python stores strings) that holds the largest character."""
    if piece.isascii():
        return 0x7F
    try:
        piece.encode("latin-1")
    except UnicodeEncodeError:
        units = len(piece.encode("utf-16-le", "surrogatepass")) // 2
        return 0xFFFF if units == len(piece) else _ASTRAL
    return 0xFF


def _pack_path(name: str, path: Path) -> DataItem:
    try:
        source = path.expanduser().resolve(strict=True)
        seen = preview.describe_path(source)
        size = source.stat().st_size if source.is_file() else 0
    except OSError as error:
        raise PackError(f"{name}: {path} cannot be read ({error.strerror or error}).") from None
    return DataItem(name=name, kind="path", type="Path", summary=seen.summary, source=source, size=size, head=seen.head)


def _write_pandas(pandas: Any, value: Any, file: IO[bytes]) -> _Packed | None:
    if isinstance(value, pandas.Series):
        # A name that is not text would not survive; None stands for itself.
        named = isinstance(value.name, str)
        if named or value.name is None:
            packed = _write_pandas(pandas, value.to_frame(name=value.name if named else ""), file)
            return packed and ("series", {"unnamed": not named})
        return None
    if not isinstance(value, pandas.DataFrame) or not _is_exact_in_arrow(pandas, value):
        return None
    try:
        import pyarrow as pa  # noqa: PLC0415 - optional, slow to import

        table = pa.Table.from_pandas(value)
    except Exception:  # noqa: BLE001 - pyarrow is missing or does not know something: pickle it is
        return None
    _write_arrow(pa, table, file)
    return "pandas", {}


def _is_exact_in_arrow(pandas: Any, frame: Any) -> bool:
    """Return whether a table is the same after a way through Arrow: objects often are not."""
    if frame.columns.nlevels > 1 or not frame.columns.is_unique or frame.attrs:
        return False
    if not all(isinstance(column, str) for column in frame.columns):
        return False
    columns = [frame[column] for column in frame.columns]
    return all(
        column.dtype != object or pandas.api.types.infer_dtype(column, skipna=False) == "string"
        for column in [*columns, frame.index.to_series()]
    )


def _write_polars(polars: Any, value: Any, file: IO[bytes]) -> _Packed | None:
    if isinstance(value, polars.LazyFrame):
        value = value.collect()
    if not isinstance(value, polars.DataFrame | polars.Series):
        return None
    series = isinstance(value, polars.Series)
    try:
        (value.to_frame() if series else value).write_ipc(file, compression="uncompressed")
    except Exception as error:  # noqa: BLE001 - polars' own errors have no common base
        raise PackError(f"This polars table cannot be passed: {str(error).splitlines()[0]}") from None
    return "polars", {"series": series}


def _write_pyarrow(pa: Any, value: Any, file: IO[bytes]) -> _Packed | None:
    if not isinstance(value, pa.Table | pa.RecordBatch):
        return None
    batch = isinstance(value, pa.RecordBatch)
    _write_arrow(pa, pa.Table.from_batches([value]) if batch else value, file)
    return "arrow", {"batch": batch}


def _write_arrow(pa: Any, table: Any, file: IO[bytes]) -> None:
    import pyarrow.ipc  # noqa: PLC0415, F401 - makes pa.ipc

    with pa.ipc.new_file(pa.PythonFile(file, "w"), table.schema) as writer:
        writer.write_table(table)


def _write_numpy(numpy: Any, value: Any, file: IO[bytes]) -> _Packed | None:
    if type(value) is not numpy.ndarray or value.dtype.hasobject or not value.size or not value.ndim:
        return None
    numpy.save(file, value, allow_pickle=False)
    return "numpy", {}


_TABLES: Mapping[str, Callable[[Any, Any, IO[bytes]], _Packed | None]] = {
    "pandas": _write_pandas,
    "polars": _write_polars,
    "pyarrow": _write_pyarrow,
    "numpy": _write_numpy,
}

__all__ = ["PackError", "pack", "write"]
