"""What the root model is told after each of its replies.

These texts are prompt as much as the system prompt is: each says what happened and what to do next,
in as few tokens as that takes.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from kowalski_jupyter.kernels.base import CellResult, Output
from kowalski_jupyter.rlm.protocol import ProblemKind, Reply
from kowalski_jupyter.rlm.text import Clip, one_line


@dataclass(slots=True)
class CellRecord:
    """A cell of the current turn with what it printed, as the model will hear of it; `skipped` by the user's word."""

    language: str
    code: str
    outputs: list[Output] = field(default_factory=list)
    result: CellResult | None = None
    skipped: bool = False

    @property
    def failed(self) -> bool:
        """Whether it ended otherwise than well."""
        return self.result is not None and self.result.status not in ("ok", "final")

    def text(self, limit: int) -> str:
        """Return the outputs as one text, head-and-tail, with their true length."""
        clip = Clip(limit)
        for output in self.outputs:
            alone = output.kind not in ("stdout", "stderr")
            text = _brief(output.text) if output.kind == "error" and self.language == "python" else output.text
            clip.add(f"\n{text}\n" if alone and clip.length else text, output.omitted)
        return clip.text().strip("\n")


def sees_pictures(model: str) -> bool:
    """Return whether a model says by its name that it sees pictures."""
    return _SEES.search(model) is not None


def pictures(cells: Sequence[CellRecord]) -> tuple[str, ...]:
    """Return the last pictures that a turn's cells have shown, as data URLs, of the kinds that models see."""
    shown = [output.rich for cell in cells for output in cell.outputs if output.rich is not None]
    seen = [rich for rich in shown if rich.mime in ("image/png", "image/jpeg")]
    return tuple(f"data:{rich.mime};base64,{rich.data}" for rich in seen[-_PICTURES:])


def after_cells(
    cells: Sequence[CellRecord],
    *,
    question: str,
    turns_left: int,
    left: str,
    limit: int,
    refusal: str = "",
    again: bool = False,
    more: bool = False,
) -> str:
    """Return the message that carries the outputs of a turn's cells back.

    Args:
        cells: what ran.
        question: what the user asked. It is repeated: after a long output a small model no longer knows it.
        turns_left: replies that the model has left.
        left: the whole budget that is left, in one line.
        limit: characters that the outputs may take.
        refusal: why the answer that a cell gave was not taken. A cell that then showed nothing needs no word.
        again: whether the model sent the very code that it had sent before.
        more: whether the reply held further blocks, which are written without having seen this output.
    """
    share = limit // max(1, len(cells))
    parts = [_cell(cell, share) for cell in cells if cell.outputs or not refusal]
    if refusal:
        parts.append(f"The answer was not taken: {refusal.rstrip('.')}. Mend it and call FINAL again.")
    if more:
        ran = "first block was" if len(cells) == 1 else f"first {len(cells)} blocks were"
        parts.append(f"Only your {ran} run. Send one block at a time.")
    if again:
        parts.append("You sent this block before. Try another way.")
    parts.append(left)
    if not refusal and not any(cell.failed for cell in cells):
        parts.append(f"Question: {one_line(question, 400)}\n{_JUDGE if turns_left > 1 else _LAST}")
    elif turns_left == 1:
        parts.append(_LAST)
    return "\n\n".join(parts)


def _cell(cell: CellRecord, limit: int) -> str:
    text = cell.text(limit)
    result = cell.result
    if cell.skipped:
        return "The user did not let this block run. Find another way, or one that asks for less."
    if result is None or result.status in ("ok", "final"):
        if not text:
            return "Output: nothing. Either nothing was found, or the block shows nothing: end it with an expression."
        hint = "\n\nNothing was found. Search for a shorter text, ignoring case." if text in _NOTHING else ""
        return f"Output:\n{text}{hint}"
    said = f"Output:\n{text}\n\n" if text else ""
    if result.status == "error":
        return f"{said}The block raised an error. Names defined before it still exist. Send the block again, corrected."
    if result.status == "timeout":
        return f"{said}The block was stopped: {result.reason}. Variables are kept. Do less per block."
    return (
        f"{said}The kernel ended: {result.reason}. All variables are lost except your data and `history`; start again."
    )


def _brief(traceback: str) -> str:
    """Return a traceback's lines of the model's own code and its message: the rest costs more than it tells."""
    lines = traceback.splitlines()
    own = [
        f"{place.strip()}: {source.strip()}"
        for place, source in itertools.pairwise(lines)
        if place.startswith('  File "<cell') and source.startswith("    ")
    ]
    message = next((i for i in reversed(range(len(lines))) if lines[i][:1].strip()), 0)
    return "\n".join([*own, *lines[message:]])


_PICTURES = 4
_SEES = re.compile(r"(?i)(^|[^a-z])(vl|vision|llava|pixtral|internvl|minicpm-v|smolvlm)([^a-z]|$)")
_NOTHING = frozenset({"[]", "{}", "()", "set()", "None", "''"})
_JUDGE = "If the output answers it, call FINAL with the answer; else look further."
_LAST = "This is your last turn: call FINAL(value) with the best answer you have."


def with_notes(said: str, notes: Sequence[str]) -> str:
    """Return a message with what the user has added since the last one."""
    return "\n\n".join([said, *(f"The user adds: {note}" for note in notes)])


def after_trouble(reply: Reply, *, turns_left: int, left: str) -> str:
    """Return the message for a reply that held nothing to run and no answer.

    Args:
        reply: the reply.
        turns_left: replies that the model has left.
        left: the whole budget that is left, in one line.
    """
    advice = [_ADVICE[problem.kind].format(detail=problem.detail) for problem in reply.problems]
    said = dict.fromkeys(advice or [_ADVICE[ProblemKind.NO_ACTION]])
    return "\n\n".join(["\n".join(said), left, *([_LAST] if turns_left == 1 else [])])


_FENCE = "Put the code in a block that starts with ```repl and ends with ```."

_ADVICE = {
    ProblemKind.EMPTY: "Your reply was empty. Reply with one ```repl block.",
    ProblemKind.ONLY_REASONING: "You only thought and wrote no reply. Think less and write one ```repl block.",
    ProblemKind.NO_ACTION: "That reply had no code to run. Reply with one ```repl block; to answer, call FINAL(value).",
    ProblemKind.UNTAGGED_FENCE: f"A block without a tag is not run. {_FENCE}",
    ProblemKind.UNKNOWN_TAG: f"A ```{{detail}} block is not run. {_FENCE}",
    ProblemKind.UNAVAILABLE_LANGUAGE: "There is no {detail} kernel here. Write it in Python, in a ```repl block.",
    ProblemKind.UNKNOWN_TOOL: f"There is no tool {{detail}}. {_FENCE}",
    ProblemKind.CODE_CUT: "Your code was cut off by the length limit and was not run. Write a shorter block.",
    ProblemKind.INLINE_CODE: f"Code within a line is not run. {_FENCE}",
    ProblemKind.INDENTED_CODE: f"Indented code is not run. {_FENCE}",
    ProblemKind.BARE_CODE: f"Code outside a block is not run. {_FENCE}",
    ProblemKind.FINAL_CUT: "Your answer was cut off by the length limit. Call FINAL(variable) with what holds it.",
    ProblemKind.FINAL_EMPTY: "FINAL had no value. Call FINAL(value) in a ```repl block.",
    ProblemKind.FINAL_PLACEHOLDER: "FINAL held a placeholder. Call FINAL with the real value in a ```repl block.",
    ProblemKind.FINAL_UNDEFINED: "There is no variable {detail}. Compute the value first, then call FINAL with it.",
    ProblemKind.FINAL_MISPLACED: "FINAL within a sentence is not an answer. Call FINAL(value) in a ```repl block.",
    ProblemKind.FINAL_BESIDE_CODE: "You answered before seeing the output. Look at it, then call FINAL(value).",
}
