"""The user's variables reach a child kernel as they are, and answers come back as they were."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import datetime as dt
import decimal
import fractions
import subprocess
import sys
import types
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import psutil
import pyarrow as pa
import pytest

from kowalski_jupyter.kernels.base import KernelError
from kowalski_jupyter.kernels.pack import PackError, pack
from kowalski_jupyter.kernels.pool import KernelPool
from kowalski_jupyter.kernels.values import decode_answer

from .support import FakeRun, opened

PLAIN: dict[str, Any] = {
    "empty_text": "",
    "ascii": "plain\r\ntext\rwith all\nline ends",
    "latin": "é" * 300_000,
    "wide": "a€\ud800b" * 200_000,
    "widest": "x\U0001f600\ud83d\ude00" * 200_000,
    "data": b"\0\xff",
    "numbers": [0, -1, 1 << 80, 1.5, float("inf"), 1e-300, 2 + 3j, True, None],
    "nested": {"a": [1, (2, {3})], 5: {"b": b"x"}, (1, 2): "tuple key", None: 1.0, "$": "tag"},
    "dates": [
        dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC),
        dt.date(2026, 1, 2),
        dt.time(1, 2),
        dt.timedelta(days=-1, microseconds=5),
    ],
    "exact": [decimal.Decimal("1.10"), fractions.Fraction(1, 3), uuid.UUID(int=5)],
    "nothing": None,
    "yes": True,
    "many": list(range(100_000)),
}


def test_plain_data_both_ways(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root, PLAIN) as session:
            result = await session("FINAL(context)")
            assert result.status == "final", session.text()
            assert session.run.value == PLAIN
            assert list(map(type, session.run.value["numbers"])) == list(map(type, PLAIN["numbers"]))

    asyncio.run(scenario())


ANSWERS = {
    "pd.NaT": None,
    "pd.DataFrame({'d': pd.to_datetime(['2026-01-02', None])}).to_dict('records')": [
        {"d": dt.datetime(2026, 1, 2)},  # noqa: DTZ001 - as pandas gives it
        {"d": None},
    ],
    "{frozenset({1, 2}), frozenset({frozenset()})}": {frozenset({1, 2}), frozenset({frozenset()})},
    "{frozenset({1}): 'x', (frozenset({2}), 3): 'y'}": {frozenset({1}): "x", (frozenset({2}), 3): "y"},
    "[np.ma.array([1, 2], mask=[0, 1]), np.array(['2026-01-02'], 'M8[ns]')]": [
        [1, None],
        [dt.datetime(2026, 1, 2)],  # noqa: DTZ001 - as NumPy gives it
    ],
    "{'a': pl.Series([1, 2]), 'b': pd.Series([3])}": {"a": [1, 2], "b": [3]},
    "10**5000": 10**5000,
    "[10**5000]": [10**5000],
}


def test_answers_come_back_as_they_were(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root, {"found": [1]}) as session:
            assert (await session("import numpy as np, pandas as pd, polars as pl")).status == "ok"
            code = f"FINAL([{', '.join(ANSWERS)}])"
            assert (await session(code)).status == "final", session.text()
            assert session.run.value == list(ANSWERS.values())

    asyncio.run(scenario())


def test_an_integer_that_python_does_not_write_out_can_be_the_answer(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            assert (await session("FINAL(10**5000)")).status == "final", session.text()
            assert session.run.value == 10**5000
            assert session.run.answers[0].text.startswith("0x")

    asyncio.run(scenario())


REFUSED = {
    "{'a': pd.DataFrame({'x': [1]})}": (
        "DataFrame can be sent by itself only, not inside of something. Put its rows there: .to_dict('records')"
    ),
    "[pl.DataFrame({'x': [1]})]": "Put its rows there: .to_dicts()",
    "[pa.table({'x': [1]})]": "Put its rows there: .to_pylist()",
    "pd.DataFrame({'a': [1, 'x']})": "column a with type object). A list of dicts can: .to_dict('records')",
    "pd.Series([1, 'a'])": "A list can: .tolist()",
    "pl.Series([object()])": "A list can: .to_list()",
    "pl.DataFrame({'a': [object()]})": "A list of dicts can: .to_dicts()",
    "pd.cut(pd.Series([1, 2, 3]), 2).value_counts()": "such as intervals: .astype(str) makes text of it). A list can:",
    "pd.DataFrame({'a': pd.cut(pd.Series([1, 2, 3]), 2)})": "such as intervals: .astype(str) makes text of",
    "np.ma.array([1, 2, 3], mask=[0, 1, 0])": "its mask would be lost. Its .tolist() can",
    "{range(3): 1}": "unhashable type: 'list'",
}


def test_what_could_not_be_read_again_is_refused_while_code_can_give_something_else(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            assert (await session("import numpy as np, pandas as pd, polars as pl, pyarrow as pa")).status == "ok"
            for code, words in REFUSED.items():
                assert (await session(f"FINAL({code})")).reason == "TypeError", code
                assert words in session.text("error"), code
            assert (await session("FINAL('something else')")).status == "final"
            assert session.run.value == "something else"

    asyncio.run(scenario())


TABLES: dict[str, Any] = {
    "frame": pd.DataFrame(
        {"n": [1, 2, 3], "f": [1.5, None, 2], "s": ["a", None, "ü"], "t": pd.to_datetime(["2026", None, "2027"])},
        index=pd.Index([10, 20, 30], name="id"),
    ),
    "categories": pd.DataFrame({"c": pd.Categorical(["x", "y", "x"])}),
    "named": pd.Series([1, 2, 3], name="count"),
    "unnamed": pd.Series(["a", "b"]),
    "polar": pl.DataFrame({"a": [1, 2], "b": ["x", None]}),
    "polar_series": pl.Series("z", [1.5, 2.5]),
    "table": pa.table({"a": [1, 2], "b": [[1], None]}),
    "matrix": np.arange(12, dtype="f4").reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "moments": np.array(["2026-01-01", "NaT"], dtype="M8[D]"),
}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind in "fM")
    if isinstance(one, pd.DataFrame | pd.Series):
        return bool(one.equals(other)) and one.index.equals(other.index)
    return bool(one.equals(other))


def test_tables_both_ways(root: Path) -> None:
    async def scenario() -> None:
        pool = KernelPool(root / "runs", spares=1)
        (root / "packs").mkdir(parents=True)
        try:
            items = [pack(name, value, root / "packs") for name, value in TABLES.items()]
            assert {item.kind for item in items} == {"pandas", "series", "polars", "arrow", "numpy"}
            kernel = await pool.acquire("python", data=items, calls=FakeRun())
            outputs: list[Any] = []
            # One answer a run: the rest is sent past FINAL, the way it sends.
            code = "from prelude.encode import encode\nimport base64\n[encode(v)[::3] for v in context.values()]"
            result = await kernel.execute(f"import sys; sys.path.append('/opt/kowalski')\n{code}", outputs.append)
            assert result.status == "ok", outputs
            encoded = eval("".join(output.text for output in outputs))  # noqa: S307 - kinds and bytes
            for (name, value), (kind, data) in zip(TABLES.items(), encoded, strict=True):
                back = decode_answer(kind, data)
                assert type(back) is type(value), name
                assert same(value, back), name
                assert getattr(back, "name", None) == getattr(value, "name", None)
        finally:
            await pool.close()

    asyncio.run(scenario())


def test_what_arrow_would_change_is_passed_otherwise(root: Path) -> None:
    mixed = pd.DataFrame({"o": [1, "a", None]})
    columns = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)]))
    numbered = pd.DataFrame({0: [1], 1: [2]})
    objects = np.array([1, "a", None], dtype=object)
    counter = collections.Counter("abca")
    scalars = [np.float32(2.5), np.int8(3), np.datetime64("2026-01-01"), pd.Timestamp("2026-01-01"), pd.NA]
    data = {"mixed": mixed, "columns": columns, "numbered": numbered, "objects": objects, "counter": counter}

    async def scenario() -> None:
        async with opened(root, {**data, "scalars": scalars}) as session:
            assert await session.value("type(mixed.o[0]), mixed.o[2], list(columns), list(numbered)") == (
                "(int, None, [('a', 1), ('b', 2)], [0, 1])"
            )
            assert await session.value("objects.tolist(), counter['a'], type(counter).__name__") == (
                "([1, 'a', None], 2, 'Counter')"
            )
            assert (await session("FINAL([objects, counter, scalars])")).status == "final"
            assert session.run.value == [
                [1, "a", None],
                {"a": 2, "b": 1, "c": 1},
                [2.5, 3, dt.date(2026, 1, 1), dt.datetime(2026, 1, 1), None],  # noqa: DTZ001 - as pandas gives it
            ]

    asyncio.run(scenario())


def test_data_in_the_kernel_may_be_changed(root: Path) -> None:
    async def scenario() -> None:
        data = {"a": np.zeros(5), "d": pd.DataFrame({"x": [1.0, 2.0]}), "b": bytearray(b"abc")}
        async with opened(root, data) as session:
            assert await session.value("a[0] = 5\nd.loc[0, 'x'] = 7\nb[0] = 0\na[0], float(d.x[0]), b[0]") == (
                "(np.float64(5.0), 7.0, 0)"
            )

    asyncio.run(scenario())


@dataclasses.dataclass
class Mine:
    x: int = 1


FOREIGN = {
    "function": lambda: 0,
    "instance": Mine(),
    "inside": [{"deep": (Mine(),)}],
    "class": Mine,
    "module": sys,
    "generator": (i for i in ()),
    "object": object(),
    "default": collections.defaultdict(lambda: 0),
    "namespace": types.SimpleNamespace(a=1),
    "frame": pd.DataFrame({"o": [Mine()]}),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_cannot_be_passed(name: str, tmp_path: Path) -> None:
    with pytest.raises(PackError) as caught:
        pack("thing", FOREIGN[name], tmp_path)
    assert str(caught.value).startswith("thing ")
    assert "These can: text" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_an_open_file_and_a_path_that_is_not_there(tmp_path: Path) -> None:
    with (tmp_path / "f").open("w") as file, pytest.raises(PackError, match="TextIOWrapper"):
        pack("thing", file, tmp_path)
    with pytest.raises(PackError, match="No such file"):
        pack("thing", tmp_path / "nowhere", tmp_path)
    with pytest.raises(PackError, match="not a name"):
        pack("not a name", 1, tmp_path)


def test_packing_imports_no_library(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from kowalski_jupyter.kernels.pack import pack
from kowalski_jupyter.kernels.values import decode_answer
for number, value in enumerate(["text", b"bytes", [1, {"a": (2, 3)}], 5, None, Path("/")]):
    pack(f"v{number}", value, Path(sys.argv[1]))
print(sorted({"pandas", "numpy", "pyarrow", "polars", "IPython", "zmq"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# ruff: noqa: RUF001 - the multiplication sign is meant
SUMMARIES = {
    "text": ("one\ntwo\n", "8 characters, 2 lines", "one\ntwo\n"),
    "long": ("a" * 1_234_567, "1,234,567 characters, 1 line", "a" * 400),
    "bytes": (b"ab", "2 bytes", "b'ab'"),
    "list": (
        [{"id": 1, "name": "x"}] * 1000,
        "1,000 items, the first is a dict with the keys 'id' (int), 'name' (str)",
        None,
    ),
    "dict": ({"a": 1, 2: 3}, "2 keys: 'a', 2", "{'a': 1, 2: 3}"),
    "frame": (pd.DataFrame({"a": [1], "b": ["x"]}), "1 row × 2 columns: a int64, b str", "   a  b\n0  1  x"),
    "table": (pa.table({"a": [1, 2]}), "2 rows × 1 column: a int64", "{'a': 1}\n{'a': 2}"),
    "polars": (pl.DataFrame({"a": [1]}), "1 row × 1 column: a Int64", "{'a': 1}"),
    "array": (np.zeros((10, 3)), "array of shape (10, 3), float64", "[0.0, 0.0, 0.0, 0.0, 0.0, 0.0]"),
    "series": (pd.Series([1, 2]), "2 values of int64", "1\n2"),
    "empty": ([], "empty", ""),
}


@pytest.mark.parametrize("name", SUMMARIES)
def test_summaries(name: str, tmp_path: Path) -> None:
    value, summary, head = SUMMARIES[name]
    item = pack("v", value, tmp_path)
    assert item.summary == summary
    assert head is None or item.head == head
    assert item.type == type(value).__name__
    assert item.path is not None
    assert item.size == item.path.stat().st_size


def test_summary_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("x")
    (tmp_path / "a").mkdir()
    item = pack("v", tmp_path, tmp_path)
    assert item.summary == f"folder {tmp_path.name} with 2 entries"
    assert item.head == "a/, b.txt"


def test_data_that_is_not_what_it_says(root: Path) -> None:
    async def scenario() -> None:
        pool = KernelPool(root / "runs", spares=0)
        (root / "packs").mkdir(parents=True)
        try:
            item = pack("text", "some text", root / "packs")
            assert item.path is not None
            item.path.write_text("some")
            with pytest.raises(KernelError, match=r"could not load.*4 characters instead of 9"):
                await pool.acquire("python", data=[item], calls=FakeRun())
            assert item.path.exists()  # the run's own, for another try
        finally:
            await pool.close()

    asyncio.run(scenario())


def test_a_large_text_is_in_memory_once(root: Path) -> None:
    size = 64 << 20

    async def scenario() -> None:
        (root / "packs").mkdir(parents=True)
        text = ("0123456789abcde\n" * (size // 16))[: size - 1] + "é"
        pool = KernelPool(root / "runs", spares=1)
        try:
            await pool.start()
            await pool.ready()
            (spare,) = pool._kernels
            family = psutil.Process().children(recursive=True)
            (process,) = [process for process in family if process.name() == "kernel"]
            assert spare.alive
            before = _peak(process.pid)
            here = psutil.Process().memory_info().rss
            item = await asyncio.to_thread(pack, "text", text, root / "packs")
            kernel = await pool.acquire("python", data=[item], calls=FakeRun())
            assert (await kernel.execute("assert len(text) == 1 << 26 and text[-1] == 'é'", print)).status == "ok"
            assert _peak(process.pid) - before < 1.2 * size
            assert psutil.Process().memory_info().rss - here < 0.2 * size
        finally:
            await pool.close()

    asyncio.run(scenario())


def _peak(pid: int) -> int:
    """The most memory that a process has had, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("VmHWM")]
    return int(line.split()[1]) << 10
