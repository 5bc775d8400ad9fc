"""The turns of a run as front ends show them (docs/run-format.md): reply, cells, outputs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kowalski_jupyter.rlm import events as ev
from kowalski_jupyter.rlm.protocol import ReplyStream, Segment
from kowalski_jupyter.rlm.protocol.thoughts import as_markdown
from kowalski_jupyter.rlm.text import Clip, head_and_tail

_OUTPUT_CHARS = 4_000
_SUBCALLS_EACH_END = 50


@dataclass(slots=True)
class Output:
    """A stream of a cell, or one result, picture or error; `rich` is `{"mime": …, "data": …}` where it is one."""

    kind: str
    clip: Clip
    rich: dict[str, str] | None = None

    def document(self, limit: int) -> dict[str, Any]:
        """Return how it is shown, in `limit` characters at the most."""
        return {"kind": self.kind, "text": self.clip.text(limit), "length": self.clip.length, "rich": self.rich}


@dataclass(slots=True)
class Cell:
    """A block of code of a reply: what it printed, and the sub-calls it made, by their numbers."""

    id: str
    language: str
    code: str
    state: str = "writing"
    seconds: float | None = None
    outputs: list[Output] = field(default_factory=list)
    subcalls: dict[int, dict[str, Any]] = field(default_factory=dict)

    def add_output(self, kind: str, text: str, omitted: int = 0) -> Output:
        """Append to the last output if it is the same stream, else begin one."""
        if not self.outputs or self.outputs[-1].kind != kind or kind not in ("stdout", "stderr"):
            self.outputs.append(Output(kind, Clip(_OUTPUT_CHARS)))
        self.outputs[-1].clip.add(text, omitted)
        return self.outputs[-1]

    def document(self, limit: int) -> dict[str, Any]:
        """Return how it is shown, each of its texts in `limit` characters at the most."""
        rows = list(self.subcalls.values())
        if len(rows) > 2 * _SUBCALLS_EACH_END:
            rows = rows[:_SUBCALLS_EACH_END] + rows[-_SUBCALLS_EACH_END:]
        return {
            "kind": "cell",
            "id": self.id,
            "language": self.language,
            "code": head_and_tail(self.code, limit),
            "state": self.state,
            "seconds": self.seconds,
            "outputs": [output.document(limit) for output in self.outputs],
            "subcalls": [
                {
                    **row,
                    "prompt": head_and_tail(row["prompt"], limit),
                    "reply": head_and_tail(row["reply"], limit),
                }
                for row in rows
            ],
            "subcalls_total": len(self.subcalls),
        }


@dataclass(frozen=True, slots=True)
class Kept:
    """The document of a turn that has ended, which only a shorter `limit` changes.

    `length` is that of its JSON without pictures and tables, which have a limit of their own.
    """

    limit: int
    document: dict[str, Any]
    length: int


class Reply:
    """A reply that comes in pieces. It is read when somebody wants to see it: a service shows few runs to anybody."""

    def __init__(self) -> None:
        self._scanner = ReplyStream()
        self._has_pieces = False
        self._ended_by: str | None = None

    def add(self, piece: str) -> None:
        """Add the next piece."""
        self._has_pieces = True
        self._scanner.feed(piece)

    def end(self, text: str, finish_reason: str) -> None:
        """Say why it has ended, and what all of it is: a stored run has no pieces."""
        if not self._has_pieces:
            self._scanner.feed(text)
        self._ended_by = finish_reason

    def segments(self) -> list[Segment]:
        """Return what it consists of so far."""
        ended_by, self._ended_by = self._ended_by, None
        if ended_by is not None:
            self._scanner.finish(ended_by)
        return self._scanner.segments


@dataclass(slots=True)
class Turn:
    """A request to the root model, what it replied, and the cells that came of it; times in seconds since 1970."""

    number: int
    started: float
    ended: float | None = None
    state: str = "thinking"
    reasoning: str = ""
    reply: Reply = field(default_factory=Reply)
    cells: list[Cell] = field(default_factory=list)
    feedback: str | None = None
    fold: dict[str, Any] | None = None
    kept: Kept | None = None

    def cell(self, event: ev.CellStarted) -> Cell:
        """Return the cell that an event is about, made when the reply's text did not show it."""
        for cell in self.cells:
            if cell.id == event.cell:
                return cell
        self.cells.append(Cell(event.cell, event.language, event.code))
        return self.cells[-1]

    def shown(self, now: float, limit: int) -> Kept:
        """Return the turn's document: a long run is shown ten times a second, and few of its turns change."""
        if self.kept is None or self.kept.limit != limit or self.kept.document["state"] != "done":
            document = self._document(now, limit)
            rich = sum(len(output.rich["data"]) for cell in self.cells for output in cell.outputs if output.rich)
            self.kept = Kept(limit, document, len(json.dumps(document)) - rich)
        return self.kept

    def _document(self, now: float, limit: int) -> dict[str, Any]:
        segments = self.reply.segments()
        return {
            "number": self.number,
            "state": self.state,
            "seconds": round((self.ended or now) - self.started, 3),
            "reasoning": head_and_tail(self._thoughts(segments), limit),
            "parts": self._parts(segments, limit),
            "feedback": self.feedback,
            "fold": self.fold,
        }

    def _thoughts(self, segments: Sequence[Segment]) -> str:
        """Return the reasoning that came apart from the reply, and that which stood in it."""
        inside = (segment.text for segment in segments if segment.kind == "thought")
        return "\n\n".join(filter(None, [self.reasoning, *inside]))

    def _parts(self, segments: Sequence[Segment], limit: int) -> list[dict[str, Any]]:
        """Return the reply in reading order: its text, and each block as the cell that it becomes."""
        parts: list[dict[str, Any]] = []
        left = {cell.id: cell for cell in self.cells}
        number = 0
        for segment in segments:
            if not segment.text.strip():
                continue
            if segment.kind == "code" and segment.language:
                number += 1
                cell = left.pop(f"{self.number}.{number}", None)
                if cell is None:
                    state = "skipped" if self.state == "done" else "writing"
                    cell = Cell(f"{self.number}.{number}", segment.language, segment.text, state)
                parts.append(cell.document(limit))
            elif segment.kind != "thought":
                parts.append({"kind": "prose", "text": head_and_tail(as_markdown(segment), limit)})
        parts.extend(cell.document(limit) for cell in left.values())
        return parts
