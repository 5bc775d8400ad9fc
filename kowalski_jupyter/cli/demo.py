"""Runs a notebook in a real kernel and prints what a reader of it would see, while it happens."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from kowalski_jupyter.api.bundle import MIME_TYPE
from kowalski_jupyter.magics.display import TerminalDisplay


class _Narrator(NotebookClient):
    """A notebook client that prints a cell's source, its streams, and its runs as they go on."""

    _display: TerminalDisplay

    async def async_execute_cell(
        self,
        cell: NotebookNode,
        cell_index: int,
        execution_count: int | None = None,
        store_history: bool = True,
    ) -> NotebookNode:
        self._display = TerminalDisplay()
        if cell.source.strip():
            sys.stdout.write("\n" + (cell.source if cell.cell_type == "markdown" else _indented(cell.source)) + "\n\n")
        return await super().async_execute_cell(cell, cell_index, execution_count, store_history)

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        content = msg["content"]
        if msg["msg_type"] == "stream":
            sys.stdout.write(content["text"])
        elif MIME_TYPE in content.get("data", {}):
            self._display.update(content["data"][MIME_TYPE])
        elif msg["msg_type"] in ("execute_result", "display_data"):
            sys.stdout.write(content["data"].get("text/plain", "") + "\n")
        sys.stdout.flush()
        return super().process_message(msg, cell, cell_index)


def _indented(source: str) -> str:
    return "\n".join(f"  {line}" for line in source.splitlines())


def run_notebook(path: Path) -> int:
    """Run a notebook from top to bottom, save it with its outputs, and return 0 if every cell succeeded."""
    notebook = nbformat.read(path, as_version=4)
    client = _Narrator(notebook, timeout=None, resources={"metadata": {"path": str(path.parent)}})
    try:
        client.execute()
    except CellExecutionError as error:
        sys.stdout.write(f"\n{error.ename}: {error.evalue}\n")
        return 1
    finally:
        nbformat.write(notebook, path)
    return 0
