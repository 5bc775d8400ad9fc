"""`%%rlm` in real kernels, as nbclient and papermill run them: no Jupyter server, a scripted model."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import nbformat
import papermill
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter

from kowalski_jupyter.api.bundle import MIME_TYPE
from tests.magics.conftest import Run, block, book_of, bundle_of, check_mistakes, error_of
from tests.support.scripted_server import Reply, ScriptedServer


def test_the_answer_is_bound_and_the_run_is_one_output(notebook: Run) -> None:
    with ScriptedServer([block("len(notes)"), block("FINAL({'n': len(notes)})")]) as server:
        book = notebook(server, "notes = 'x' * 1234", "%%rlm notes -o answer\nHow long is it?", "answer['n'] + 1")

    bundle = bundle_of(book.cells[2])
    assert book.cells[3].outputs[0].data["text/plain"] == "1235"
    assert bundle[MIME_TYPE]["state"] == "done"
    assert [turn["number"] for turn in bundle[MIME_TYPE]["turns"]] == [1, 2]
    assert set(bundle) == {MIME_TYPE, "text/html", "text/markdown", "text/plain"}
    assert "1234" in bundle["text/plain"]


def test_the_question_is_never_interpolated(notebook: Run) -> None:
    question = 'Is {"a": 1} or {} or $x or {x} or println!("{}") or %s in it? `code`'
    with ScriptedServer([block("FINAL(1)")]) as server:
        notebook(server, "x = 'SECRET'", "notes = 'n'", f"%%rlm notes\n{question}")
        assert question in server.requests[0].last("user")


def test_a_saved_notebook_reads_without_kernel_and_extension(notebook: Run) -> None:
    hostile = "<script>alert(1)</script>"
    with ScriptedServer([block(f"print({hostile!r})"), block(f"FINAL({hostile!r})")]) as server:
        book = notebook(server, "notes = 'n'", f"%%rlm notes -o answer\nWhat about {hostile}?")
    bundle = bundle_of(book.cells[2])
    html, _ = HTMLExporter().from_notebook_node(book)

    assert "<script>" not in bundle["text/html"]
    assert "alert(1)" in bundle["text/html"]
    assert "What about" in html
    assert "FINAL(" in bundle["text/html"]
    json.dumps(book)


def test_a_failed_run_raises_and_still_shows_what_there_was(notebook: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    del notebook  # for its environment
    book = book_of("notes = 'n'", "%%rlm notes --max-turns 2\nWhat?")
    with ScriptedServer([block("1")]) as server:
        monkeypatch.setenv("KOWALSKI_URL", server.url)
        with pytest.raises(CellExecutionError, match=r"limit of turns is reached \(2\)"):
            NotebookClient(book, timeout=None).execute()

    assert bundle_of(book.cells[2])[MIME_TYPE]["state"] == "failed"
    assert "--max-turns" in error_of(book.cells[2])


def test_papermill_fails_with_the_run(notebook: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del notebook  # for its environment
    path = tmp_path / "in.ipynb"
    nbformat.write(book_of("notes = 'n'", "%%rlm notes\nWhat?"), path)
    with ScriptedServer([Reply("", status=500)]) as server:
        monkeypatch.setenv("KOWALSKI_URL", server.url)
        with pytest.raises(papermill.PapermillExecutionError):
            papermill.execute_notebook(path, None, progress_bar=False, kernel_name="python3")
        assert server.requests


MISTAKES = [
    ("%%rlm note\nWhat?", "Did you mean notes?"),
    ("%%rlm thing\nWhat?", "thing"),
    ("%%rlm notes\n  \n", "question is empty"),
    ("%%rlm notes --frobnicate\nWhat?", "There is no --frobnicate"),
    ("%rlm frobnicate", "status"),
    ("%rlm show r-000000", "%rlm runs"),
]


def test_mistakes_are_one_line_that_says_what_can(notebook: Run) -> None:
    check_mistakes(notebook, "notes = 'n'\nthing = (i for i in [])", MISTAKES)


def test_an_interrupt_stops_the_run_and_raises_keyboard_interrupt(
    notebook: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    del notebook  # for its environment
    book = book_of("notes = 'n'", "%%rlm notes\nWhat?")
    with ScriptedServer([Reply("word " * 3000, token_delay=0.01)]) as server:
        monkeypatch.setenv("KOWALSKI_URL", server.url)
        client = NotebookClient(book, timeout=None, allow_errors=True)

        def interrupt() -> None:
            server.wait_for(lambda: server.requests)
            asyncio.run_coroutine_threadsafe(client.km.interrupt_kernel(), loop).result()

        async def execute() -> None:
            nonlocal loop
            loop = asyncio.get_running_loop()
            interrupter = threading.Thread(target=interrupt)
            interrupter.start()
            await client.async_execute()
            interrupter.join()

        loop = asyncio.new_event_loop()
        loop.close()
        asyncio.run(execute())
        server.wait_for(lambda: server.requests[0].disconnected is not None)
        count = len(server.requests)

    cell = book.cells[2]
    assert [output.ename for output in cell.outputs if output.output_type == "error"] == ["KeyboardInterrupt"]
    assert bundle_of(cell)[MIME_TYPE]["state"] == "cancelled"
    assert bundle_of(cell)[MIME_TYPE]["turns"]
    assert count == 1


def test_commands_look_at_runs(notebook: Run) -> None:
    with ScriptedServer([block("FINAL(41)")]) as server:
        book = notebook(
            server,
            "notes = 'n'",
            "%%rlm notes\nWhat?",
            "%rlm runs",
            "%rlm status",
            "last = %rlm last\nlast.value + 1",
            "%rlm show",
            "%rlm help",
        )
    texts = ["".join(o.get("text", "") + str(o.get("data", "")) for o in cell.outputs) for cell in book.cells]

    assert "done" in texts[3]
    assert "this kernel" in texts[4]
    assert "42" in texts[5]
    assert MIME_TYPE in texts[6]
    assert "%rlm cancel ID" in texts[7]
