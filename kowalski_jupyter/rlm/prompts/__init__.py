"""The system prompt, a readable file beside this one, and the first user message."""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Sequence

from kowalski_jupyter.kernels.base import DataItem


@functools.cache
def system_prompt(profile: str = "small_coder") -> str:
    """Return the system prompt for a profile of models: the file of that name, without its comment."""
    text = importlib.resources.files(__name__).joinpath(f"{profile}.md").read_text(encoding="utf-8")
    _, _, prompt = text.rpartition("-->")
    return prompt.strip()


def first_message(question: str, data: Sequence[DataItem]) -> str:
    """Return the question with a description of the data, which itself stays out of the window."""
    return "\n\n".join([*map(_describe, data), f"Question: {question}"])


def _describe(item: DataItem) -> str:
    lines = [f"`{item.name}`: {item.type}, {item.summary}."]
    if item.head:
        lines.append(f"It starts: {item.head!r}")
    if item.tail:
        lines.append(f"It ends: {item.tail!r}")
    return "\n".join(lines)
