"""What can be wrong with a reply. `feedback` words it for the model."""

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


@dataclass(frozen=True, slots=True)
class Problem:
    """Something about a reply that the model should be told."""

    kind: ProblemKind
    detail: str = ""
