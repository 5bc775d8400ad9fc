"""`jupyter kowalski demo`: a notebook runs in a real kernel, and its reader sees it happen in the terminal."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from kowalski_jupyter.cli.demo import run_notebook
from tests.support.scripted_server import ScriptedServer

ROOT = Path(__file__).parents[2]
REPLIES = ["Let me count.\n```repl\ntotal = notes.count('a')\ntotal\n```", "```repl\nFINAL(total)\n```"]


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KOWALSKI_SOCKET", raising=False)
    cells = [
        nbformat.v4.new_markdown_cell("# How many?"),
        nbformat.v4.new_code_cell("%load_ext kowalski_jupyter\nnotes = 'banana'"),
        nbformat.v4.new_code_cell("%%rlm notes -o answer\nHow many a?"),
        nbformat.v4.new_code_cell("truth = notes.count('a')\nassert answer == truth\nprint('agreed on', truth)"),
    ]
    path = tmp_path / "book.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_it_prints_the_run_and_agrees(
    notebook: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with ScriptedServer(REPLIES) as server:
        monkeypatch.setenv("KOWALSKI_URL", server.url)
        assert run_notebook(notebook) == 0
    printed = capsys.readouterr().out

    for line in ("# How many?", "Let me count.", "total = notes.count('a')", "→ 3", "Answer: 3", "agreed on 3"):
        assert line in printed
    assert "agreed on 3" in notebook.read_text()


def test_it_fails_when_the_answer_is_wrong(
    notebook: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with ScriptedServer(["```repl\nFINAL(4)\n```"]) as server:
        monkeypatch.setenv("KOWALSKI_URL", server.url)
        assert run_notebook(notebook) == 1

    assert "AssertionError" in capsys.readouterr().out
