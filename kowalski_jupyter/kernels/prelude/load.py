"""Load the user's variables from the files that `pack` (kernels/pack.py) wrote."""

from __future__ import annotations

import ctypes
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_PIECE = 1 << 18


def load(item: Mapping[str, Any]) -> Any:
    """Return the value of one item: its `kind`, the `path` of its file, and `meta`."""
    path = Path(item["path"])
    return _LOADERS[item["kind"]](path, item["meta"])


def _text(path: Path, meta: Mapping[str, Any]) -> str:
    """Read UTF-8 into a string of known size, so that the text is in memory once.

    `str.join` or ``file.read().decode()`` would hold it twice. A new string may be filled as long as
    nobody else has seen it (PyUnicode_New and PyUnicode_CopyCharacters in Python's C API); its size
    and its largest character must be exact, or it would not compare equal to the same text.
    """
    characters = meta["characters"]
    if not characters:
        return ""
    api = ctypes.pythonapi
    api.PyUnicode_New.restype = ctypes.c_void_p
    api.PyUnicode_New.argtypes = [ctypes.c_ssize_t, ctypes.c_uint32]
    copy = api.PyUnicode_CopyCharacters
    copy.restype = ctypes.c_ssize_t
    copy.argtypes = [ctypes.c_void_p, ctypes.c_ssize_t, ctypes.py_object, ctypes.c_ssize_t, ctypes.c_ssize_t]
    api.Py_DecRef.argtypes = [ctypes.c_void_p]
    api.Py_DecRef.restype = None

    address = api.PyUnicode_New(characters, meta["largest"])
    try:
        done = held = 0
        buffer = bytearray(_PIECE)
        view = memoryview(buffer)
        with path.open("rb", buffering=0) as file:
            while read := file.readinto(view[held:]):
                filled = held + read
                whole = _whole_characters(buffer, filled)
                piece = str(view[:whole], "utf-8", "surrogatepass")
                copy(address, done, piece, 0, len(piece))
                done += len(piece)
                held = filled - whole
                buffer[:held] = buffer[whole:filled]
        if held or done != characters:
            raise ValueError(f"{path.name} holds {done:,} characters instead of {characters:,}")
        return str(ctypes.cast(address, ctypes.py_object).value)
    finally:
        api.Py_DecRef(address)


def _whole_characters(block: bytearray, size: int) -> int:
    """Return the length of ``block[:size]`` without a character at its end that may be cut off."""
    index = size - 1
    if block[index] < 0x80:  # noqa: PLR2004 - ASCII
        return size
    while index and 0x80 <= block[index] < 0xC0:  # noqa: PLR2004 - UTF-8's continuation bytes
        index -= 1
    lead = block[index]
    length = 4 if lead >= 0xF0 else 3 if lead >= 0xE0 else 2  # noqa: PLR2004 - by UTF-8's first byte
    return size if index + length == size else index


def _bytes(path: Path, meta: Mapping[str, Any]) -> bytes | bytearray:
    if not meta.get("mutable"):
        return path.read_bytes()
    data = bytearray(path.stat().st_size)
    with path.open("rb") as file:
        file.readinto(data)
    return data


def _plain(path: Path, _meta: Mapping[str, Any]) -> Any:
    with path.open("rb") as file:
        return pickle.load(file)  # noqa: S301 - written by `pack`, read in the sandbox


def _arrow(path: Path, meta: Mapping[str, Any]) -> Any:
    import pyarrow as pa  # noqa: PLC0415 - only where the data needs it

    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    return table.to_batches()[0] if meta.get("batch") and table.num_rows else table


def _pandas(path: Path, meta: Mapping[str, Any]) -> Any:
    return _arrow(path, meta).to_pandas()


def _series(path: Path, meta: Mapping[str, Any]) -> Any:
    series = _pandas(path, meta).iloc[:, 0]
    return series.rename(None) if meta.get("unnamed") else series


def _polars(path: Path, meta: Mapping[str, Any]) -> Any:
    import polars as pl  # noqa: PLC0415 - only where the data needs it

    frame = pl.read_ipc(path)
    return frame.to_series() if meta.get("series") else frame


def _numpy(path: Path, _meta: Mapping[str, Any]) -> Any:
    import numpy as np  # noqa: PLC0415 - only where the data needs it

    return np.load(path, mmap_mode="c", allow_pickle=False)


def _path(path: Path, _meta: Mapping[str, Any]) -> Path:
    return path


_LOADERS = {
    "text": _text,
    "bytes": _bytes,
    "plain": _plain,
    "arrow": _arrow,
    "pandas": _pandas,
    "series": _series,
    "polars": _polars,
    "numpy": _numpy,
    "path": _path,
}
