"""Answers from a hostile kernel are refused, not believed."""

from __future__ import annotations

import contextlib
import io
import json
import math
import pickle
import struct
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from kowalski_jupyter.kernels.values import PlotlyFigure, decode_answer, untagged


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


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + b"\x08\x02\0\0\0"


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
    "no png": ("png", b"<svg onload='alert(1)'></svg>" * 9),
    "cut png": ("png", b"\x89PNG"),
    "huge png": ("png", png(100_000, 100_000)),
    "empty png": ("png", png(0, 5)),
    "no figure": ("plotly", b"[]"),
    "figure without traces": ("plotly", b'{"layout": {}}'),
    "unknown trace": ("plotly", b'{"data": [{"type": "code"}]}'),
    "huge integer": ("json", b"9" * 10_000),
    "huge fraction": ("json", tagged("fraction", "1e999999999")),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answers(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    kind, data = HOSTILE[name]
    with pytest.raises(ValueError, match="The answer"):
        decode_answer(kind, data)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", [name for name, (kind, _) in HOSTILE.items() if kind == "json"])
def test_hostile_answers_are_plain_json_or_refused_where_a_schema_is_set(name: str) -> None:
    with contextlib.suppress(ValueError):
        json.dumps(untagged(HOSTILE[name][1], strictly=True), allow_nan=False)


def test_special_numbers() -> None:
    assert math.isnan(decode_answer("json", tagged("float", "nan")))
    assert decode_answer("json", tagged("int", hex(-(1 << 70)))) == -(1 << 70)


def test_a_plotly_figure_where_plotly_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    figure = decode_answer("plotly", b'{"data": [{"type": "bar", "y": [1]}], "layout": {}}')
    assert isinstance(figure, PlotlyFigure)
    shown = figure._repr_mimebundle_(include=None, exclude=None)
    assert shown["application/vnd.plotly.v1+json"]["data"][0]["y"] == [1]
    assert "install plotly" in shown["text/plain"]


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
