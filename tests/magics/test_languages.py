"""Every language through `%%rlm`: the cells of tests/kernels/languages.py as a model's replies."""

from __future__ import annotations

import ast

import pytest

from kowalski_jupyter.api.bundle import MIME_TYPE
from kowalski_jupyter.kernels.languages import FOREIGN
from tests.kernels.languages import WORDS, need
from tests.magics.conftest import Run, block, bundle_of
from tests.support.scripted_server import Request, ScriptedServer

DATA = """
notes = "an apple\\nzwei Äpfel"
data = {"name": "n", "list": [1, 2, 3]}
import pandas
table = pandas.DataFrame({"city": ["Oslo", "Bern"], "people": [700, 130]})
"""


@pytest.mark.parametrize("language", FOREIGN)
def test_a_run_in_one_language(language: str, notebook: Run) -> None:
    need(language)
    cells = WORDS[language].cells
    replies = iter(
        [block("share('from python', {'k': 7})"), *(f"```{language}\n{c.code}\n```" for c in cells.values())]
    )

    def reply(request: Request) -> str:
        asked = request.last("user")
        return f"reply to {asked}" if len(request.messages) == 1 else next(replies)

    with ScriptedServer(reply) as server:
        ask = "%%rlm notes table data -o answer --max-turns 40\nWhat?"
        book = notebook(server, DATA, ask, "answer")

    document = bundle_of(book.cells[2])[MIME_TYPE]
    ran = [part for turn in document["turns"] for part in turn["parts"] if part["kind"] == "cell"]
    assert document["state"] == "done"
    assert [cell["language"] for cell in ran] == ["python", *[language] * len(cells)]
    for cell, (name, expected) in zip(ran[1:], cells.items(), strict=True):
        text = "".join(output["text"] for output in cell["outputs"])
        assert (cell["state"], expected.shows in text) == (expected.status, True), f"{name}: {cell}"
    assert ast.literal_eval(book.cells[3].outputs[0].data["text/plain"]) == {"n": [1, 2.5], "$": "ü"}
