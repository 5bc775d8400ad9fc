"""Answers from a hostile kernel are refused, not believed."""

from __future__ import annotations

import io
import json
import math
import pickle
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from kowalski_jupyter.kernels.values import decode_answer


def npy(header: str) -> bytes:
    padded = header.encode() + b" " * 10 + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded


class Bomb:
    def __reduce__(self) -> Any:
        return print, ("executed",)


def pickled_npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([Bomb()], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def tagged(tag: Any, value: Any) -> bytes:
    return json.dumps({"$": tag, "v": value}).encode()


HOSTILE = {
    "unknown kind": ("pickle", pickle.dumps(Bomb())),
    "pickle as json": ("json", pickle.dumps(Bomb())),
    "pickle in npy": ("numpy", pickled_npy()),
    "huge shape": ("numpy", npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }") + b"x"),
    "negative shape": ("numpy", npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }")),
    "code in header": ("numpy", npy("__import__('os').system('true')")),
    "empty npy": ("numpy", b""),
    "not arrow": ("arrow", b"nothing"),
    "cut arrow": ("pandas", b"\xff\xff\xff\xff\x10\0\0\0"),
    "not polars": ("polars", b"Fnothing"),
    "unknown tag": ("json", tagged("code", "1 + 1")),
    "list as tag": ("json", tagged([], 1)),
    "tag without value": ("json", b'{"$": "tuple"}'),
    "bad hex": ("json", tagged("bytes", "zz")),
    "bad date": ("json", tagged("datetime", 5)),
    "bad timedelta": ("json", tagged("timedelta", [10**20])),
    "unhashable in set": ("json", tagged("set", [[]])),
    "deep": ("json", b"[" * 200_000),
    "finite float": ("json", tagged("float", "1.5")),
    "huge integer": ("json", b"9" * 10_000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answers(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    kind, data = HOSTILE[name]
    with pytest.raises(ValueError, match="The answer"):
        decode_answer(kind, data)
    assert capsys.readouterr().out == ""


def test_special_numbers() -> None:
    assert math.isnan(decode_answer("json", tagged("float", "nan")))
    assert decode_answer("json", tagged("int", hex(-(1 << 70)))) == -(1 << 70)


def test_arrays_may_be_changed() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.arange(6).reshape(2, 3))
    array = decode_answer("numpy", buffer.getvalue())
    array[0, 0] = 7
    assert array.tolist() == [[7, 1, 2], [3, 4, 5]]


def test_a_column_with_wrong_offsets() -> None:
    sink = pa.BufferOutputStream()
    table = pa.table({"a": ["x"]})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write(table)
    good = sink.getvalue().to_pybytes()
    body = good.index(b"x\0\0\0\0\0\0\0")
    offsets = good.rindex(struct.pack("<ii", 0, 1), 0, body)
    bad = good[:offsets] + struct.pack("<ii", 0, 1 << 20) + good[offsets + 8 :]
    with pytest.raises(ValueError, match="The answer"):
        decode_answer("arrow", bad)
