"""What can be wrong with a reply, and what to tell the model about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ProblemKind(StrEnum):
    """What is wrong. The comment says what `Problem.detail` holds."""

    EMPTY = "empty"  # -
    ONLY_REASONING = "only reasoning"  # -
    NO_ACTION = "neither code nor answer"  # -
    UNTAGGED_FENCE = "untagged fence"  # the language it looks like, or ""
    UNKNOWN_TAG = "unknown fence tag"  # the tag
    UNKNOWN_TOOL = "unknown tool"  # the tool's name
    UNAVAILABLE_LANGUAGE = "language without a kernel"  # the language
    CODE_CUT = "code cut by the token limit"  # the language
    INLINE_CODE = "inline code"  # the language it looks like
    INDENTED_CODE = "indented code"  # the language it looks like
    BARE_CODE = "code without a fence"  # the language it looks like
    FINAL_CUT = "answer cut by the token limit"  # -
    FINAL_EMPTY = "empty answer"  # -
    FINAL_PLACEHOLDER = "placeholder as answer"  # the placeholder
    FINAL_UNDEFINED = "undefined variable as answer"  # the name
    FINAL_MISPLACED = "answer not alone on its line"  # -
    FINAL_BESIDE_CODE = "answer beside code whose output was not seen"  # -


_HOW = "Put your code in one block that opens with ```repl and closes with ```."
_CALL = "call FINAL(value) in a ```repl block."

_ADVICE = {
    ProblemKind.EMPTY: f"Your reply was empty. {_HOW}",
    ProblemKind.ONLY_REASONING: f"Your reply held only reasoning. Think less, then act. {_HOW}",
    ProblemKind.NO_ACTION: f"Your reply held no code to run, so nothing happened. {_HOW}",
    ProblemKind.UNTAGGED_FENCE: f"A fence without a tag is not run. {_HOW}",
    ProblemKind.UNKNOWN_TAG: "A block tagged `{detail}` is not run. " + _HOW,
    ProblemKind.UNKNOWN_TOOL: "There is no tool `{detail}`. " + _HOW,
    ProblemKind.UNAVAILABLE_LANGUAGE: "There is no {detail} kernel here. Write Python. " + _HOW,
    ProblemKind.CODE_CUT: "The length limit cut your code off, so it was not run. Write a shorter block.",
    ProblemKind.INLINE_CODE: f"Code inside a sentence is not run. {_HOW}",
    ProblemKind.INDENTED_CODE: f"Code that is only indented is not run. {_HOW}",
    ProblemKind.BARE_CODE: f"Code without a fence is not run. {_HOW}",
    ProblemKind.FINAL_CUT: f"The length limit cut your answer off. Put it in a variable, then {_CALL}",
    ProblemKind.FINAL_EMPTY: f"FINAL() had no value. Work the answer out, then {_CALL}",
    ProblemKind.FINAL_PLACEHOLDER: "`{detail}` is a placeholder, no answer. Work the answer out, then " + _CALL,
    ProblemKind.FINAL_UNDEFINED: "There is no variable `{detail}`. Define it with code, then " + _CALL,
    ProblemKind.FINAL_MISPLACED: f"FINAL in a sentence does nothing. To give the answer, {_CALL}",
    ProblemKind.FINAL_BESIDE_CODE: f"You answered before you saw your code's output. If it still holds, {_CALL}",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """Something about a reply that the model should be told."""

    kind: ProblemKind
    detail: str = ""

    @property
    def advice(self) -> str:
        """One or two sentences for the model: what was wrong and what to do next."""
        return _ADVICE[self.kind].replace("{detail}", self.detail[:80])
