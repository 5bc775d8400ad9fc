"""Runs as files: the notebook runs without a model and without us, the JSON lines say what happened."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from kowalski_jupyter.kernels.base import Value
from kowalski_jupyter.kernels.prelude.encode import encode
from kowalski_jupyter.rlm import events as ev
from kowalski_jupyter.rlm.log import EventLog
from kowalski_jupyter.service.export.jsonl import to_jsonl
from kowalski_jupyter.service.export.notebook import to_notebook

Calls = Sequence[tuple[str, str, str]]


class Told:
    """Events of a run as it might have gone."""

    def __init__(self, data: Sequence[dict[str, str]] | None = None) -> None:
        self.log = EventLog()
        self.calls = 0
        self.turn = 0
        self.answers: dict[str, Value] = {}
        given = [{"name": "notes", "type": "str", "summary": "30 characters"}] if data is None else list(data)
        path = "loop" if given else "direct"
        self.add(ev.RunStarted("r-1", "How many\napples?", path, "here", given, 20, 900.0))
        self.add(ev.ModelReady("tiny-coder", "a script"))

    def add(self, event: ev.Event) -> None:
        self.log.append(event)

    def cell(
        self,
        code: str,
        status: Any = "ok",
        calls: Calls = (),
        language: str = "python",
        *,
        children: Sequence[Value] = (),
        seconds: float = 0.2,
    ) -> None:
        self.turn += 1
        name = f"{self.turn}.1"
        self.add(ev.TurnStarted(self.turn))
        text = f"```{language}\n{code}\n```"
        self.add(ev.ReplyDelta(self.turn, "hm", reasoning=True))
        self.add(ev.ReplyDelta(self.turn, text))
        self.add(ev.ReplyFinished(self.turn, text, "stop", 0.5, 100, 10))
        self.add(ev.CellStarted(self.turn, name, language, code))
        for prompt, reply, error in calls:
            self.calls += 1
            self.add(ev.SubcallStarted(name, self.calls, "tiny", prompt))
            self.add(ev.SubcallFinished(self.calls, reply, error, 0.1, 7, 3))
        for answer in children:
            self.calls += 1
            run = f"r-1-{self.calls}"
            self.answers[run] = answer
            self.add(ev.SubcallStarted(name, self.calls, "tiny", "child?", run=run))
            self.add(ev.SubcallFinished(self.calls, answer.text, "", 0.1))
        self.add(ev.CellOutput(name, "stdout", "shown"))
        self.add(ev.CellFinished(name, status, "", seconds))
        self.add(ev.Feedback(self.turn, f"go on after {self.turn}", trouble=False))

    def end(self, text: str = "2") -> list[ev.Event]:
        self.add(ev.Answered("int", text))
        self.add(ev.RunFinished("done", "", 3.0))
        return self.log.events


@pytest.fixture
def execute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A function that runs an exported notebook where kowalski-jupyter cannot be imported."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.delenv("PYTHONPATH", raising=False)

    def run(
        events: Sequence[ev.Event],
        define: str,
        check: str,
        *,
        ours: bool = False,
        answers: Mapping[str, Value] | None = None,
    ) -> Any:
        book = nbformat.reads(to_notebook(events, (answers or {}).get).decode(), 4)
        nbformat.validate(book)
        hide = "" if ours else "import sys\nsys.modules['kowalski_jupyter'] = None\n"
        book.cells.insert(1, nbformat.v4.new_code_cell(hide + define))
        book.cells.append(nbformat.v4.new_code_cell(check))
        NotebookClient(book, timeout=None, resources={"metadata": {"path": str(tmp_path)}}).execute()
        return book

    return run


def text_of(cell: Any) -> str:
    return "".join(o.get("text", "") + o.get("data", {}).get("text/plain", "") for o in cell.outputs)


Execute = Callable[..., Any]


def test_the_successful_path_runs_without_a_model(execute: Execute) -> None:
    told = Told()
    told.cell("lines = notes.splitlines()\nlen(lines)")
    told.cell("lines / 0", status="error")
    told.cell(
        "kinds = [llm_query(f'fruit of {line}?') for line in lines]\nmore = llm_query_batched(['a?', 'b?', 'c?'])",
        calls=[
            ("fruit of one apple?", "apple", ""),
            ("fruit of two apples?", "apple", ""),
            ("a?", "A", ""),
            ("b?", "", "the model was busy"),
            ("c?", "C", ""),
        ],
    )
    told.cell("FINAL(kinds.count('apple'))", status="final")
    check = "print(answer, [str(each) for each in more], context == notes, isinstance(more[1], QueryError))"
    book = execute(told.end(), "notes = 'one apple\\ntwo apples'", check)

    assert text_of(book.cells[-1]).strip() == "2 ['A', 'the model was busy', 'C'] True True"
    assert text_of(book.cells[-2]) == "2"
    assert "lines / 0" not in str(book)
    assert "> How many\n> apples?" in book.cells[0].source


def test_the_same_prompt_gets_its_replies_in_order(execute: Execute) -> None:
    told = Told()
    calls = [("p", reply, "") for reply in ("first", "second", "first")]
    told.cell("said = [llm_query('p', sample=i) for i in range(3)]", calls=calls)
    told.cell("FINAL(said)", status="final")
    book = execute(told.end(), "notes = 'n'", "print(answer)")

    assert text_of(book.cells[-1]).strip() == "['first', 'second', 'first']"


def test_a_failed_cell_stays_where_later_cells_use_what_it_bound(execute: Execute) -> None:
    told = Told()
    told.cell("kept = 20\nkept / 0", status="error")
    told.cell("lost = 1\nlost / 0", status="error")
    told.cell("FINAL(kept + 1)", status="final")
    book = execute(told.end(), "notes = 'n'", "print(answer)")

    assert text_of(book.cells[-1]).strip() == "21"
    assert "lost" not in str(book)


def test_a_failed_cell_stays_where_it_changed_what_later_cells_use(execute: Execute) -> None:
    changes = [
        ("kept = {}", "kept['a'] = 1", {"a": 1}),
        ("kept = []", "kept.append(5)", [5]),
        ("kept = Counter()", "kept.n = 7\nkept.update('a')", {"a": 1}),
        ("kept = []\ndef keep(n):\n    kept.append(n)", "keep(3)", [3]),
        ("kept = [2]\ndef put(into):\n    into.append(1)", "put(kept)", [2, 1]),
        ("def local():\n    kept = 1", "kept = 20", 20),
        ("kept = 0", "kept += 4", 4),
    ]
    told = Told()
    for number, (before, failed, _) in enumerate(changes):
        told.cell(before.replace("kept", f"kept{number}"))
        told.cell(failed.replace("kept", f"kept{number}") + "\n1 / 0", status="error")
    told.cell("del notes", status="error")
    told.cell(f"FINAL([{', '.join(f'kept{number}' for number in range(len(changes)))}])", status="final")
    book = execute(told.end(), "notes = 'n'", f"print(answer == {[value for _, _, value in changes]!r})")

    assert text_of(book.cells[-1]).strip() == "True"


def test_a_failed_cell_that_only_read_is_left_out() -> None:
    told = Told()
    told.cell("import random\nkinds = {}")
    told.cell(
        "print(notes.upper(), kinds.get('a'), len(kinds), json.dumps(kinds), random.random())\nno", status="error"
    )
    told.cell("FINAL((notes, kinds, json, random))", status="final")

    assert "notes.upper" not in to_notebook(told.end()).decode()


@pytest.mark.parametrize("code", ["import time\nx = 5\ntime.sleep(600)", "x = 5\nawait asyncio.sleep(600)"])
def test_a_cell_that_was_stopped_is_stopped_again(execute: Execute, code: str) -> None:
    told = Told()
    told.cell(code, status="timeout", seconds=1.0)
    told.cell("FINAL(x + 1)", status="final")
    book = execute(told.end(), "notes = 'n'", "print(answer)")

    assert text_of(book.cells[-1]).strip() == "6"


def test_what_a_killed_kernel_lost_is_left_out(execute: Execute) -> None:
    told = Told()
    told.cell("before = 1")
    told.cell("import os\nos._exit(1)", status="died")
    told.cell("FINAL('before' in globals())", status="final")
    book = execute(told.end(), "notes = 'n'", "print(answer)")

    assert text_of(book.cells[-1]).strip() == "False"


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("for i in range(9):\n    if i == 3:\n        FINAL(i)\nfail", "3"),
        ("answer = {'content': [1, 2], 'ready': True}", "[1, 2]"),
        ("result = 7\nFINAL_VAR('result')", "7"),
        ("text = '''a\n  b'''\nFINAL(text)", "a\n  b"),
        ("async def work():\n    return await llm_query_async('p')\nFINAL(await work())", "said"),
        ("FINAL(json.dumps(Counter('aab')))", '{"a": 2, "b": 1}'),
        ("FINAL(llm_query('q', schema={'type': 'object'})['n'])", "4"),
        ("FINAL(llm_query('fenced', schema={'type': 'object', 'required': ['n']})['n'])", "4"),
        ("text = '''\nab\n  c'''\nFINAL(f\"\"\"{text}\n{1 +\n1}\"\"\")\nfail", "ab\n  c\n2"),
        ("share('v', (1, 2))\nFINAL(shared('v'))", "[1, 2]"),
        ("FINAL([each['cell'] for each in history])", "[]"),
        ("FINAL(rlm_query('r', 'about'))", "plain text"),
        ("FINAL(rlm_query('r', {'a': [1]}))", "plain data"),
        ("FINAL(rlm_query_batched(['r', 'r', 's'], [{1}, {2}, None]))", "['a set', 'another', 'alone']"),
    ],
)
def test_every_way_to_answer_binds_the_answer(execute: Execute, code: str, value: str) -> None:
    told = Told()
    replies = {"p": "said", "q": '{"n": 4}', "fenced": 'As in [1]:\n```json\n{"n": 4}\n```', "s": "alone"}
    replies |= {"r\n\nabout": "plain text", 'r\n\n{"a":[1]}': "plain data"}
    replies |= {'r\n\n{"$":"set","v":[1]}': "a set", 'r\n\n{"$":"set","v":[2]}': "another"}
    if "{1}" in code:
        replies = {prompt: reply for prompt, reply in replies.items() if not reply.startswith("plain")}
    told.cell(code, status="final", calls=[(prompt, reply, "") for prompt, reply in replies.items()])
    book = execute(told.end(), "notes = 'n'", "print(answer)")

    assert text_of(book.cells[-1]).strip() == value


def test_history_is_what_the_cell_found(execute: Execute) -> None:
    told = Told()
    told.cell("1 / 0", status="error")
    told.cell("x = len(history)")
    told.cell("FINAL((x, [(each['cell'], each['output']) for each in history]))", status="final")
    book = execute(told.end(), "notes = 'n'", "print(answer)")

    assert text_of(book.cells[-1]).strip() == "(1, [(1, 'shown'), (2, 'shown')])"


def test_what_child_runs_gave_is_what_it_was(execute: Execute, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    given = [3, {"error": "none", "n": [1]}, (1, {2}), b"x"]
    told.cell("parts = rlm_query_batched(['child?'] * 4, [1, 2, 3, 4])", children=[Value(*encode(v)) for v in given])
    told.cell("FINAL(parts)", status="final")
    book = execute(told.end(), "notes = 'n'", "print(answer == " + repr(given) + ")", answers=told.answers)
    assert text_of(book.cells[-1]).strip() == "True"

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    told = Told()
    told.cell("FINAL(rlm_query('child?', 'c').sum())", status="final", children=[Value(*encode(np.arange(4)))])
    book = execute(told.end(), "notes = 'n'", "print(answer)", ours=True, answers=told.answers)
    assert text_of(book.cells[-1]).strip() == "6"


def test_data_may_be_called_name(execute: Execute) -> None:
    told = Told([{"name": "name", "type": "str", "summary": "s"}])
    told.cell("FINAL(name.upper() + context)", status="final")
    book = execute(told.end(), "name = 'Ada'", "print(answer)")

    assert text_of(book.cells[-1]).strip() == "ADAAda"


def test_data_called_answer_keeps_its_name(execute: Execute) -> None:
    told = Told([{"name": "answer", "type": "int", "summary": "5"}, {"name": "notes", "type": "str", "summary": "s"}])
    told.cell("FINAL(answer + len(context['notes']))", status="final")
    book = execute(told.end(), "answer = 5\nnotes = 'abc'", "print(answer, final_answer)")

    assert text_of(book.cells[-1]).strip() == "5 8"


@pytest.mark.parametrize(
    ("define", "code", "said"),
    [
        ("", "FINAL(1)", "Define notes first"),
        ("notes = 'n'", "FINAL(llm_query('never asked'))", "No reply to this prompt is recorded"),
    ],
)
def test_what_is_missing_is_said(execute: Execute, define: str, code: str, said: str) -> None:
    told = Told()
    told.cell(code, status="final")

    with pytest.raises(CellExecutionError, match=said):
        execute(told.end(), define, "")


def test_helpers_come_along(execute: Execute) -> None:
    told = Told()
    told.cell("parts = chunks('ab' * 10, 5)\nhits = search('an apple', 'apple')")
    told.cell("FINAL((len(parts), hits[0]['text']))", status="final")
    book = execute(told.end(), "notes = 'n'", "print(answer)")

    assert text_of(book.cells[-1]).strip() == "(4, 'an apple')"


def test_helpers_that_ask_models_are_answered_from_the_record(
    execute: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    told = Told()
    calls = [("is x fruit?", "yes", ""), ("is y fruit?", "no", ""), ("v?", "A", ""), ("v?", "B", ""), ("v?", "A.", "")]
    told.cell("kinds = map_query(['x', 'y'], 'is {item} fruit?')\nbest = vote('v?', 3)", calls=calls)
    told.cell("[n] = map_query([1], 'n {item}', schema={'type': 'integer'})", calls=[("n 1", "```json\n7\n```", "")])
    told.cell("FINAL((kinds, best, n))", status="final")
    book = execute(told.end(), "notes = 'n'", "print(answer)", ours=True)

    assert text_of(book.cells[-1]).strip() == "(['yes', 'no'], 'A', 7)"


def test_texts_that_were_too_long_together_are_again(execute: Execute, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    told = Told()
    pair = "Sum.\n\n--- Text 1 of 2 ---\n{}\n\n--- Text 2 of 2 ---\n{}"
    one = "Sum.\n\n--- Text 1 of 1 ---\n{}"
    calls = [
        (pair.format("xx", "yy"), "", "too long"),
        (one.format("xx"), "x", ""),
        (one.format("yy"), "y", ""),
        (pair.format("x", "y"), "z", ""),
    ]
    told.cell("FINAL(tree_reduce(['xx', 'yy'], 'Sum.'))", status="final", calls=calls)
    book = execute(told.end(), "notes = 'n'", "print(answer)", ours=True)

    assert text_of(book.cells[-1]).strip() == "z"


def test_a_run_without_code_is_its_question_and_answer() -> None:
    told = Told([])
    told.add(ev.TurnStarted(1))
    told.add(ev.ReplyFinished(1, "Paris", "stop", 1.0))
    book = nbformat.reads(to_notebook(told.end("Paris")).decode(), 4)

    assert [cell.cell_type for cell in book.cells] == ["markdown", "markdown"]
    assert "Paris" in book.cells[1].source


def test_the_same_run_is_the_same_file() -> None:
    told = Told()
    told.cell("FINAL('\ud800')", status="final")
    events = told.end()

    assert to_notebook(events) == to_notebook(events)


def test_json_lines_say_what_happened_turn_by_turn() -> None:
    told = Told()
    told.cell("a = llm_query('p')", calls=[("p", "r", ""), ("q", "", "busy")])
    told.cell("FINAL(2)", status="final")
    metadata, *turns = [json.loads(line) for line in to_jsonl(told.end()).splitlines()]

    assert metadata["type"] == "metadata"
    assert metadata["root_model"] == "tiny-coder"
    assert metadata["question"] == "How many\napples?"
    assert metadata["final_answer"] == "2"
    assert [turn["iteration"] for turn in turns] == [1, 2]
    assert {turn["type"] for turn in turns} == {"iteration"}
    assert turns[0]["prompt"] == [{"role": "user", "content": "How many\napples?"}]
    assert turns[1]["prompt"] == [{"role": "user", "content": "go on after 1"}]
    assert turns[0]["response"] == "```python\na = llm_query('p')\n```"
    assert turns[0]["reasoning"] == "hm"
    assert turns[0]["usage"] == {"total_calls": 1, "total_input_tokens": 100, "total_output_tokens": 10}
    (block,) = turns[0]["code_blocks"]
    assert block["code"] == "a = llm_query('p')"
    assert block["result"]["stdout"] == "shown"
    assert [(call["prompt"], call["response"], call["error"]) for call in block["result"]["rlm_calls"]] == [
        ("p", "r", None),
        ("q", "", "busy"),
    ]
    assert [turn["final_answer"] for turn in turns] == [None, "2"]
