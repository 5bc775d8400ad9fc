"""Cells in a real kernel, as nbclient and papermill run them: no Jupyter server, a scripted model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from kowalski_jupyter.api.bundle import MIME_TYPE
from tests.support.scripted_server import ScriptedServer

ROOT = Path(__file__).parents[2]
LOAD = "%load_ext kowalski_jupyter"


def block(code: str) -> str:
    return f"Let me see.\n```repl\n{code}\n```"


def book_of(*cells: str) -> Any:
    """A notebook that loads the extension and has these cells."""
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in (LOAD, *cells)])


Run = Callable[..., Any]


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A function that runs cells in a kernel of its own and returns the notebook."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("KOWALSKI_SOCKET", raising=False)

    def run(server: ScriptedServer, *cells: str, allow_errors: bool = False) -> Any:
        monkeypatch.setenv("KOWALSKI_URL", server.url)
        book = book_of(*cells)
        NotebookClient(book, timeout=None, allow_errors=allow_errors).execute()
        return book

    yield run
    assert not list(tmp_path.glob("cache/kowalski-jupyter/runs/*/*"))


def bundle_of(cell: Any) -> dict[str, Any]:
    (output,) = [output for output in cell.outputs if MIME_TYPE in output.get("data", {})]
    return dict(output.data)


def error_of(cell: Any) -> str:
    return "".join(output.get("evalue", "") + output.get("text", "") for output in cell.outputs)


def check_mistakes(notebook: Run, setup: str, mistakes: Sequence[tuple[str, str]]) -> None:
    """See that each cell fails in one line with the words beside it, and that no model is asked. One kernel for all."""
    with ScriptedServer([block("FINAL(1)")]) as server:
        book = notebook(server, setup, *(cell for cell, _ in mistakes), allow_errors=True)
        assert not server.requests
    for cell, (source, said) in zip(book.cells[2:], mistakes, strict=True):
        text = error_of(cell)
        assert said in text, source
        assert "Traceback" not in text, source
        lines = [line for line in text.splitlines() if line.strip() and "kowalski server" not in line]
        assert len(lines) == 1, source
