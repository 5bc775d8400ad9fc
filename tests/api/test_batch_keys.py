"""What counts as the same task when a named batch is called again: the question, the options and all of the data."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from kowalski_jupyter import RLM, Result
from tests.service.conftest import Desk
from tests.support.scripted_server import ScriptedServer

Serve = Callable[..., Desk]


def values(folder: Path, number: int) -> dict[str, Any]:
    """Return data of many kinds, made anew, that `number` tells apart."""
    (folder / "part").mkdir(parents=True, exist_ok=True)
    for file in (folder / "file.txt", folder / "part" / "inner.txt"):
        file.write_text(str(number))
        os.utime(file, ns=(number, number))
    return {
        "text": f"text {number}",
        "bytes": b"%d" % number,
        "array": np.array([1, number]),
        "array of objects": np.array([1, "x", number], dtype=object),
        "frame": pd.DataFrame({"a": [1, number]}),
        "frame of objects": pd.DataFrame({"a": [[1], [number]]}),
        "series": pd.Series([1, number], name="s"),
        "polars": pl.DataFrame({"a": [1, number]}),
        "lazy": pl.LazyFrame({"a": [1, number]}),
        "arrow": pa.table({"a": [1, number]}),
        "dates": [dt.date(2020, 1, number)],
        "dict with a set": {"a": {number}},
        "frame in a list": [pd.DataFrame({"a": [1, number]})],
        "file": folder / "file.txt",
        "folder": folder,
    }


@pytest.fixture
def asked(serve: Serve) -> Any:
    """A function that runs a batch of one name and returns how many of its tasks went to a model."""
    with ScriptedServer(lambda _: "```repl\nFINAL(1)\n```") as server:
        serve(server)

        def batch(data: list[Any]) -> int:
            before = len(server.requests)
            with RLM() as rlm:
                results = rlm.batch([("What?", value) for value in data], name="b")
            assert [result.value for result in results if isinstance(result, Result)] == [1] * len(data)
            return len(server.requests) - before

        yield batch


def test_tasks_whose_data_has_changed_are_run_again_and_no_others(asked: Any, tmp_path: Path) -> None:
    first = values(tmp_path / "mine", 1)
    assert asked([*first.values()]) == len(first)
    assert asked([*values(tmp_path / "mine", 1).values()]) == 0
    assert asked([*values(tmp_path / "mine", 2).values()]) == len(first)


def test_the_same_digits_in_another_type_are_other_data(asked: Any) -> None:
    for value in (1, "1", b"1", bytearray(b"1"), [1], ["1"]):
        assert asked([value]) == 1


def test_sets_and_shared_objects_count_by_what_is_in_them(asked: Any) -> None:
    text, other = (str(10**9) for _ in range(2))
    assert asked([[{0, 8}, text, text]]) == 1
    assert asked([[{8, 0}, text, other]]) == 0
    assert asked([[frozenset({8, 0}), text, text]]) == 1


def test_what_contains_itself_is_data_like_any_other(asked: Any) -> None:
    def endless(end: int) -> list[Any]:
        value: list[Any] = [end]
        value.append(value)
        return value

    assert [asked([endless(end)]) for end in (1, 1, 2)] == [1, 0, 1]


def test_a_task_is_about_its_data_by_name(serve: Serve) -> None:
    with ScriptedServer(lambda _: "```repl\nFINAL(1)\n```") as server:
        serve(server)
        with RLM() as rlm:
            rlm.batch([{"question": "What?", "ab": "c"}], name="b")
            rlm.batch([{"question": "What?", "a": "bc"}], name="b")
        assert len(server.requests) == 2
