"""`%%rlm_batch` in a real kernel."""

from __future__ import annotations

from tests.magics.conftest import Run, block, error_of
from tests.support.scripted_server import Reply, Request, ScriptedServer

LETTERS = "import pandas as pd\nletters = pd.DataFrame({'text': ['a', 'bb', 'ccc', 'dddd']})"


def count(_: Request) -> str:
    return block("FINAL(len(context))")


def test_a_column_is_asked_about_and_the_answers_are_bound(notebook: Run) -> None:
    with ScriptedServer(count) as server:
        book = notebook(
            server,
            LETTERS,
            "%%rlm_batch letters.text -o lengths --parallel 2\nHow long?",
            "letters['length'] = lengths\nletters.length.tolist()",
        )

    [output] = [output for output in book.cells[2].outputs if "text/html" in output.get("data", {})]
    assert output.data["text/plain"].startswith("4 of 4 done")
    assert '<progress value="4" max="4">' in output.data["text/html"]
    assert book.cells[3].outputs[-1].data["text/plain"] == "[1, 2, 3, 4]"


def test_what_fails_stands_in_its_place_and_is_said(notebook: Run) -> None:
    def reply(request: Request) -> Reply | str:
        bad = "bb" in str(request.payload["messages"])
        return Reply(status=400, error="not this one") if bad else count(request)

    with ScriptedServer(reply) as server:
        book = notebook(
            server,
            "texts = ['a', 'bb', 'ccc']",
            "%%rlm_batch texts -o lengths --max-turns 1\nHow long?",
            "[type(each).__name__ for each in lengths]",
        )

    assert "1 of 3 tasks have no answer" in error_of(book.cells[2])
    assert book.cells[3].outputs[-1].data["text/plain"] == "['int', 'RlmError', 'int']"


def test_mistakes_are_one_line(notebook: Run) -> None:
    with ScriptedServer(count) as server:
        book = notebook(
            server,
            LETTERS,
            "%%rlm_batch letters.txt\nHow long?",
            "one = 'text'",
            "%%rlm_batch one\nHow long?",
            "%%rlm_batch letters.text\n\n",
            allow_errors=True,
        )

    assert "letters has no column txt." in error_of(book.cells[2])
    assert "one is one value." in error_of(book.cells[4])
    assert "The question is empty" in error_of(book.cells[5])
    assert not server.requests
