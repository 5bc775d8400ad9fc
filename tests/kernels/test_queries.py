"""What a run's code asks of models, and what it gets back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from kowalski_jupyter.kernels.base import FUNCTIONS, Function, Query, Value
from kowalski_jupyter.kernels.values import decode_answer

from .support import FakeRun, opened, until

WRONG_CALLS = {
    "llm_query(['a'])": "one str, not list; for many prompts there is llm_query_batched",
    "llm_query()": "The form is llm_query(prompt, model=None, schema=None, max_tokens=None, sample=None)",
    "llm_query('a', temperature=1)": "'temperature'. The form is llm_query(",
    "llm_query('a', model=5)": "model is the name",
    "llm_query('a', max_tokens=0)": "max_tokens is a number",
    "llm_query('a', max_tokens=True)": "max_tokens is a number",
    "llm_query('a', sample='x')": "sample is an int",
    "llm_query('a', schema=list)": "schema is a JSON Schema as a dict",
    "llm_query('a', schema={'type': {1, 2}})": "schema is a JSON Schema as a dict",
    "llm_query_batched('a')": "list of prompts; for one prompt there is llm_query",
    "llm_query_batched({'a': 1})": "list of prompts",
    "llm_query_batched(['a', 1])": "prompt 1 is int",
    "await llm_query_async(5)": "one str, not int",
    "await llm_query_batched_async('a', 'b', c=1)": "The form is llm_query_batched_async(",
    "rlm_query(['a'])": "one question, a str, not list; for many questions there is rlm_query_batched",
    "rlm_query('a', 'b', 'c', 'd')": "The form is rlm_query(question, context=None, model=None)",
    "rlm_query('a', print)": "cannot be sent. These can",
    "import pathlib; rlm_query('a', pathlib.Path('x'))": "path.read_text()",
    "rlm_query_batched('a')": "list of questions; for one question there is rlm_query",
    "rlm_query_batched(['a', 'b'], 'c')": "[context] * len(questions)",
    "rlm_query_batched(['a', 'b'], ['c'])": "a context for each question: 2, not 1",
}


def test_wrong_calls_say_the_right_form(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            for code, words in WRONG_CALLS.items():
                assert (await session(code)).reason == "TypeError", code
                assert words in session.text("error"), code
                assert "prelude" not in session.text("error")
            assert not session.run.prompts
            assert not session.run.queries

    asyncio.run(scenario())


def test_replies_by_schema(root: Path) -> None:
    async def reply(prompt: str) -> Any:
        return {"name": prompt, "age": 36} if prompt != "odd" else {"name": "odd", "age": -1}

    model = """
import pydantic
class Person(pydantic.BaseModel):
    name: str
    age: int
    @pydantic.field_validator("age")
    @classmethod
    def positive(cls, age):
        if age < 0: raise ValueError("nobody is that young")
        return age
"""

    async def scenario() -> None:
        async with opened(root, run=FakeRun(reply=reply)) as session:
            assert await session.value("llm_query('Ada', schema={'type': 'object'})") == "{'name': 'Ada', 'age': 36}"
            assert session.run.options[-1] == {"schema": {"type": "object"}}
            assert (await session(model)).status == "ok", session.text()
            assert await session.value("llm_query('Ada', schema=Person)") == "Person(name='Ada', age=36)"
            assert session.run.options[-1]["schema"]["required"] == ["name", "age"]
            value = await session.value("[type(r).__name__ for r in llm_query_batched(['Ada', 'odd'], schema=Person)]")
            assert value == "['Person', 'QueryError']"
            assert (await session("llm_query('odd', schema=Person)")).reason == "QueryError"
            assert "does not fit Person" in session.text("error")
            assert "nobody is that young" in session.text("error")

    asyncio.run(scenario())


def test_awaited_queries_go_on_at_the_same_time(root: Path) -> None:
    async def scenario() -> None:
        together = asyncio.Barrier(100)

        async def reply(prompt: str) -> str:
            if prompt.startswith("w"):
                await together.wait()
            if prompt == "bad":
                raise ValueError("the model is gone")
            return prompt.upper()

        async with opened(root, run=FakeRun(reply=reply)) as session:
            wide = (
                "await asyncio.gather(*[llm_query_async(f'w{i}') for i in range(100)]) == [f'W{i}' for i in range(100)]"
            )
            assert await session.value(wide) == "True"
            many = (
                "await asyncio.gather(*[llm_query_async(str(i)) for i in range(600)]) == [str(i) for i in range(600)]"
            )
            assert await session.value(many) == "True"
            assert await session.value("await llm_query_batched_async(['a', 'b'])") == "['A', 'B']"
            assert (await session("await llm_query_async('bad')")).reason == "QueryError"
            assert await session.value("len(await llm_query_async('x' * 1_000_000))") == "1000000"
            assert await session.value("llm_query('still here')") == "'STILL HERE'"

    asyncio.run(scenario())


def test_an_interrupt_ends_awaited_queries_in_the_run_too(root: Path) -> None:
    async def scenario() -> None:
        async def reply(prompt: str) -> str:
            if prompt == "slow":
                await asyncio.Event().wait()
            return prompt

        run = FakeRun(reply=reply)
        async with opened(root, run=run) as session:
            cell = asyncio.create_task(session("await asyncio.gather(*[llm_query_async('slow') for _ in range(20)])"))
            await until(lambda: len(run.prompts) == 20)
            cell.cancel()
            await asyncio.wait([cell])
            assert await session.value("await llm_query_async('fast')") == "'fast'"
            assert run.cancelled == 20
            code = "await asyncio.wait_for(llm_query_async('slow'), 0.05)"
            assert (await session(f"try:\n    {code}\nexcept TimeoutError:\n    print('late')")).status == "ok"
            assert session.text("stdout") == "late\n"
            await until(lambda: run.cancelled == 21)

    asyncio.run(scenario())


VALUES = """
import datetime, numpy as np, pandas as pd, polars as pl, pyarrow as pa
values = [
    'text', {'a': (1, {2, 3}), 5: datetime.date(2026, 1, 2)}, b'\\n\\x00\\xff', [], 1.5, float('inf'), 'x' * 3_000_000,
    np.arange(6).reshape(2, 3), pd.DataFrame({'a': [1, 2]}), pd.Series([1, 2]), pl.DataFrame({'a': ['x']}),
    pa.table({'a': [1]}),
]
def same(a, b):
    if type(a) is not type(b): return False
    return bool((a == b).all()) if isinstance(a, np.ndarray) else bool(a.equals(b)) if hasattr(a, 'equals') else a == b
"""


def test_contexts_go_out_and_answers_come_back_as_live_values(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:  # whose child runs answer with their context
            assert (await session(VALUES)).status == "ok", session.text()
            assert await session.value("all(same(v, rlm_query('Which?', v)) for v in values)") == "True"
            assert [query.question for query in session.run.queries] == ["Which?"] * 12
            assert session.run.queries[0].context == Value("json", "str", "text", b'"text"')
            code = "answers = rlm_query_batched([str(i) for i in range(12)], values)\n"
            assert await session.value(f"{code}all(map(same, values, answers))") == "True"
            code = "answers = await rlm_query_batched_async(['a'] * 12, contexts=values)\n"
            assert await session.value(f"{code}all(map(same, values, answers))") == "True"
            assert await session.value("same(values[7], await rlm_query_async('a', values[7]))") == "True"
            assert await session.value("rlm_query_batched([])") == "[]"

    asyncio.run(scenario())


def test_a_child_run_that_fails(root: Path) -> None:
    def child(query: Query) -> Value:
        if query.question == "bad":
            raise ValueError("no answer within 3 turns")
        if query.question == "broken":
            return Value("numpy", "ndarray", "", b"nothing")
        return Value("json", "int", "7", b"7")

    async def scenario() -> None:
        async with opened(root, run=FakeRun(child=child)) as session:
            assert await session.value("rlm_query('good', model='big')") == "7"
            assert session.run.options == [{"model": "big"}]
            assert session.run.queries == [Query("good")]
            assert (await session("rlm_query('bad')")).reason == "QueryError"
            assert session.text("error").endswith("QueryError: no answer within 3 turns")
            value = await session.value("[str(a)[:10] for a in rlm_query_batched(['good', 'bad', 'broken', 'good'])]")
            assert value == "['7', 'no answer ', 'The answer', '7']"
            assert (await session("rlm_query('broken')")).reason == "QueryError"

    asyncio.run(scenario())


def test_contexts_that_are_the_same_are_sent_once(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            code = "big = 'x' * 1_000_000\nlen(rlm_query_batched(['a'] * 8, [big] * 7 + [None]))"
            assert await session.value(code) == "8"
            contexts = [query.context for query in session.run.queries]
            assert contexts[0] is not None
            assert all(context is contexts[0] for context in contexts[:7])
            assert contexts[7] is None

    asyncio.run(scenario())


WRITTEN_OUT = {
    "'text'": "text",
    "'ü'.encode() * 30_000": "ü" * 30_000,
    "list(range(3))": "[0,1,2]",
    "{1: 'ü', (1, 2): {3}, '$': None}": '{"1":"ü","[1, 2]":[3],"$":null}',
    "[datetime.date(2026, 1, 2), 1.5, float('nan'), -float('inf'), 2**70, 1j, b'\\xff', pd.NaT]": (
        '["2026-01-02",1.5,NaN,-Infinity,1180591620717411303424,"1j","ff",null]'
    ),
    "[np.array(['2026-01-02'], 'M8[ns]'), np.float32(2.5)]": '[["2026-01-02T00:00:00"],2.5]',
    "np.arange(5000)": str(list(range(5000))).replace(" ", ""),
    "pd.DataFrame({'n': range(3000), 'm': 'x'})": "n,m\n" + "".join(f"{n},x\n" for n in range(3000)),
    "pd.DataFrame([[1, 2.5], [None, np.inf]], columns=['a', 'a'])": "a,a\n1.0,2.5\n,inf\n",
    "pd.Series({'a': 1, 'b': 2})": "index,value\na,1\nb,2\n",
    "pd.cut(pd.Series([1, 2, 9]), 2).value_counts()": 'index,count\n"(0.992, 5.0]",2\n"(5.0, 9.0]",1\n',
    "pl.DataFrame({'n': range(3000)})": "n\n" + "".join(f"{n}\n" for n in range(3000)),
    "pl.Series('z', ['x', None])": 'z\nx\n""\n',
    "pa.table({'a': [1], 'b': ['x,y']})": 'a,b\n1,"x,y"\n',
}


def test_where_no_runs_can_be_started_all_of_a_context_goes_out_as_text(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root, run=FakeRun(starts_runs=False)) as session:
            assert (
                await session("import datetime, numpy as np, pandas as pd, polars as pl, pyarrow as pa")
            ).status == "ok"
            for code, text in WRITTEN_OUT.items():
                assert await session.value(f"rlm_query('Which?', {code}) == {text!r}") == "True", code
            code = "len(await rlm_query_batched_async(['a', 'b'], contexts=[{1, 2}, None]))"
            assert await session.value(code) == "2"
            assert [
                query.context and decode_answer("json", query.context.data) for query in session.run.queries[-2:]
            ] == [
                "[1,2]",
                None,
            ]

    asyncio.run(scenario())


WITHOUT_TEXT = {
    "import matplotlib.pyplot as plt; rlm_query('a', plt.subplots()[1])": "Give the data that it shows",
    "import plotly.graph_objects as go; rlm_query('a', go.Figure())": "a figure has none. Give the data that it shows",
    "rlm_query('a', b'\\xff')": "no UTF-8. Decode them first",
    "rlm_query('a', [print])": "cannot be sent. These can",
}


def test_what_has_no_text_is_refused_where_no_runs_can_be_started(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root, run=FakeRun(starts_runs=False)) as session:
            for code, words in WITHOUT_TEXT.items():
                assert (await session(code)).reason == "TypeError", code
                assert words in session.text("error"), code
            assert not session.run.queries

    asyncio.run(scenario())


GROUPS = {
    (): "",
    ("helpers",): "chunks search",
    ("rlm_query",): "QueryError rlm_query rlm_query_async rlm_query_batched rlm_query_batched_async",
    ("llm_query",): "QueryError llm_query llm_query_async llm_query_batched llm_query_batched_async",
    ("llm_query", "helpers"): "QueryError chunks llm_query llm_query_async llm_query_batched llm_query_batched_async "
    "map_query search tree_reduce vote",
}


@pytest.mark.parametrize("functions", GROUPS)
def test_functions_that_a_run_does_not_allow_are_not_there(functions: tuple[Function, ...], root: Path) -> None:
    async def scenario() -> None:
        async with opened(root, functions=functions) as session:
            listed = ["QueryError", "chunks", "llm_query", "map_query", "rlm_query", "search", "tree_reduce", "vote"]
            code = f"' '.join(sorted(n for n in globals() if n.startswith(({str(listed)[1:-1]}))))"
            assert await session.value(code) == repr(GROUPS[functions])

    assert set(functions) <= set(FUNCTIONS)
    asyncio.run(scenario())
