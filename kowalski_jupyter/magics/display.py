"""How a run is shown while it goes on: one output updated in place, or lines in a terminal."""

from __future__ import annotations

import sys
from typing import Any, Protocol, TextIO

from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display, update_display

from kowalski_jupyter.api.bundle import Document, headline, run_bundle
from kowalski_jupyter.rlm.text import one_line


class RunDisplay(Protocol):
    """Shows one run. Called about ten times a second, with the whole document each time."""

    def update(self, document: Document) -> None:
        """Show the run as it is now."""
        ...


class CellDisplay:
    """The cell's output: a MIME bundle under one `display_id`, updated in place."""

    def __init__(self) -> None:
        self._handle: Any = None

    def update(self, document: Document) -> None:
        """Show the run as it is now."""
        bundle = run_bundle(document)
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            update_display(bundle, raw=True, display_id=self._handle.display_id)


class TerminalDisplay:
    """Lines as they come: replies while they stream, outputs, sub-calls in one line, the answer.

    Args:
        out: where to write.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._shown: dict[str, int] = {}
        self._said: set[str] = set()
        self._line_open = False

    def update(self, document: Document) -> None:
        """Write what is new since the last time."""
        for notice in document["notices"]:
            self._once(notice, f"· {notice}")
        if document["progress"]:
            self._progress(document["progress"])
        if document["model"]:
            model = document["model"]
            self._once("model", f"· {model['name']}, {model['where']}")
        for turn in document["turns"]:
            self._turn(turn)
        if document["state"] in ("done", "failed", "cancelled"):
            self._end(document)
        self._out.flush()

    def _turn(self, turn: Document) -> None:
        key = f"turn {turn['number']}"
        self._once(key, f"── turn {turn['number']} " + "─" * 50)
        for index, part in enumerate(turn["parts"]):
            if part["kind"] == "prose":
                self._grow(f"{key}.{index}", part["text"])
                continue
            self._grow(f"{key}.{index} code", part["code"], prefix="  │ ")
            if part["subcalls_total"]:
                self._subcalls(f"{key}.{index}", part)
            for number, output in enumerate(part["outputs"]):
                self._grow(f"{key}.{index} out {number}", output["text"].rstrip("\n"), prefix="  → ")
        if turn["feedback"]:
            self._once(f"{key} feedback", f"  ↺ {turn['feedback']}")

    def _subcalls(self, key: str, cell: Document) -> None:
        """Write a line for each sub-call that has ended; beyond the rows of the document only their number."""
        for call in cell["subcalls"]:
            if call["state"] in ("ok", "error"):
                said = f"{one_line(call['prompt'], 50)} ⇒ {one_line(call['reply'], 40)}"
                self._once(f"{key} call {call['id']}", f"  ⇄ {call['id']}: {said}")

    def _grow(self, key: str, text: str, prefix: str = "") -> None:
        """Write what `text` has more than when it was last written."""
        shown = self._shown.get(key, 0)
        new = text[shown:]
        if not new:
            return
        if not shown:
            self._close_line()
            self._out.write(prefix)
        self._out.write(new.replace("\n", "\n" + prefix))
        self._shown[key] = len(text)
        self._line_open = True

    def _once(self, key: str, line: str) -> None:
        if key not in self._said:
            self._said.add(key)
            self._close_line()
            self._out.write(line + "\n")

    def _progress(self, progress: Document) -> None:
        """Write a line for every tenth of a download."""
        done, total = progress["done"] or 0, progress["total"] or 0
        tenth = 10 * done // total if total else 0
        self._once(
            f"{progress['text']} {tenth}",
            f"· {progress['text']}: {done / 1e6:,.0f}" + (f" of {total / 1e6:,.0f} MB" if total else " MB"),
        )

    def _end(self, document: Document) -> None:
        self._once("end", "─" * 60)
        self._once("headline", headline(document))
        if document["error"]:
            self._once("error", document["error"])
        if document["answer"]:
            self._once("answer", f"Answer: {document['answer']['text']}")

    def _close_line(self) -> None:
        if self._line_open:
            self._out.write("\n")
            self._line_open = False


def display_for(shell: InteractiveShell) -> RunDisplay:
    """Return the display that suits where the magic runs: a kernel has cells, a plain shell has lines."""
    return CellDisplay() if getattr(shell, "kernel", None) is not None else TerminalDisplay()
