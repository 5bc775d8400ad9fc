"""The examples of docs/python-api.md and of the README do what they say."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kowalski_jupyter import Result
from tests.service.conftest import Desk
from tests.support.scripted_server import Request, ScriptedServer

ROOT = Path(__file__).parents[2]
ANSWERS = {
    "begin with a capital": "FINAL(sum(word[0].isupper() for word in context.split()))",
    "Who wrote this": "FINAL({'sender': 'Karl', 'year': int(context.split('.')[0][-4:])})",
    "How many apples": "FINAL(context.count('apple'))",
    "How many pears": "FINAL(context.count('pear'))",
    "How many words": "FINAL(len(context.split()))",
    "Equal": "FINAL(left == right)",
    "mention a debt": "FINAL(1891)",
}


def examples(name: str) -> str:
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / name).read_text(), re.DOTALL | re.MULTILINE)
    return "\n".join(blocks)


def answer(request: Request) -> str:
    asked = " ".join(str(message["content"]) for message in request.messages[-1:])
    code = next((code for question, code in ANSWERS.items() if question in asked), None)
    return "Paris" if code is None else f"```repl\n{code}\n```"


def test_the_examples_of_the_reference(serve: Callable[..., Desk], capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pydantic")
    space: dict[str, Any] = {}
    with ScriptedServer(answer) as server:
        serve(server)
        exec(compile(examples("docs/python-api.md"), "docs/python-api.md", "exec", dont_inherit=True), space)  # noqa: S102
    said = capsys.readouterr().out

    assert (space["result"].value, space["result"].text) == (3, "3")
    assert [result.value for result in space["results"] if isinstance(result, Result)] == ["Paris", 3, False]
    assert "run_started\n" in said
    assert "run_finished\n" in said
    assert "3 of 3 done" in said


def test_the_example_of_the_readme(serve: Callable[..., Desk]) -> None:
    space: dict[str, Any] = {"notes": "x"}
    with ScriptedServer(answer) as server:
        serve(server)
        exec(compile(examples("README.md"), "README.md", "exec", dont_inherit=True), space)  # noqa: S102

    assert space["answer"] == 1891
