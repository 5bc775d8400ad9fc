"""What the root model reads before anything else: the opening of its chat and the first user message."""

from __future__ import annotations

import functools
import importlib.resources
import re
from collections.abc import Sequence
from typing import cast

from kowalski_jupyter.kernels.base import DataItem
from kowalski_jupyter.models.base import Message, Role

_ROLE = re.compile(r"^## (system|user|assistant)\n", re.MULTILINE)


@functools.cache
def opening(profile: str = "small_coder") -> tuple[Message, ...]:
    """Return the messages that every chat starts with: the system prompt and a few short runs as examples.

    Args:
        profile: a kind of models; the messages are in the file of that name beside this one.
    """
    text = importlib.resources.files(__name__).joinpath(f"{profile}.md").read_text(encoding="utf-8")
    _, *parts = _ROLE.split(text.partition("-->")[2])
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return tuple(Message(cast("Role", role), content.strip()) for role, content in pairs)


def first_message(question: str, data: Sequence[DataItem]) -> str:
    """Return the question with a description of the data, which itself stays out of the window.

    It ends by asking for code: a small model that reads the question last answers it out of the preview.
    """
    names = " and ".join(f"`{item.name}`" for item in data)
    ask = f"Question: {question}\nReply with one ```repl block that works on {names}."
    return "\n\n".join([*map(_describe, data), ask])


def _describe(item: DataItem) -> str:
    """Describe one variable. The head is a repr: models copy raw text into their code instead of using the variable."""
    line = f"`{item.name}`: {item.type}, {item.summary}."
    return f"{line}\nIt starts: {item.head!r}" if item.head else line
