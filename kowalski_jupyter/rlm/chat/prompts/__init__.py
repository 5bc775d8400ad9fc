"""What the root model reads before anything else: the opening of its chat and the first user message."""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from kowalski_jupyter.kernels.base import DataItem
from kowalski_jupyter.models.base import Message, Role
from kowalski_jupyter.rlm.text import head_and_tail, one_line

_ROLE = re.compile(r"^## (system|user|assistant)(?:[ \t]+\{(!?\w+)\})?[ \t]*\n", re.MULTILINE | re.IGNORECASE)
_COMMENT = re.compile(r"\A\s*<!--.*?-->", re.DOTALL)
_ONLY_WITH = re.compile(r"^((?:\{!?\w+\} )+)(.*\n)", re.MULTILINE)

_SCHEMA_CHARS = 2000
"""Of a schema in the chat. What `FINAL` refuses is told with the place, so the rest is found out."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A kind of models: how they are spoken to, and how much they may say and be shown.

    Attributes:
        name: of the kind, and of the file beside this one that holds the opening.
        reply_tokens: the longest reply.
        output_chars: what the outputs of a turn may take.
        several_languages: whether a reply may hold blocks of several languages, and the prompt speaks of them.
        thinks: whether a reply may begin with thoughts that nothing marks before their end.
    """

    name: str
    reply_tokens: int
    output_chars: int
    several_languages: bool = False
    thinks: bool = False


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("small_coder", 1024, 2_000),
        Profile("large_coder", 4096, 10_000, several_languages=True),
        Profile("reasoning", 16_384, 10_000, several_languages=True, thinks=True),
    )
}

_REASONING = re.compile(
    r"thinking|reason|\br1\b|[-_]r1[-_]|qwq|gpt-oss|magistral|\bo[134]\b|glm-4\.[5-9]|minimax-m|kimi-k2-t|seed-oss"
)
_SIZE = re.compile(r"(?<![\d.a-z])(\d+(?:\.\d+)?)b(?![a-z])")
_LARGE = 20.0
"""Billions of parameters from which on a model follows longer instructions."""


def choose_profile(model: str, window: int | None = None) -> Profile:
    """Return the profile for a model, by what its id tells; a model that tells nothing counts as small.

    Args:
        model: the id.
        window: its served context in tokens, if known. A reply may take a third of it, and outputs, at some four
            characters a token, a quarter.
    """
    name = model.lower()
    sizes = [float(size) for size in _SIZE.findall(name)]
    large = bool(sizes) and max(sizes) >= _LARGE
    profile = PROFILES["reasoning" if _REASONING.search(name) else "large_coder" if large else "small_coder"]
    return fit(profile, window)


def fit(profile: Profile, window: int | None) -> Profile:
    """Return a profile that leaves room in a window of so many tokens."""
    if window is None:
        return profile
    reply_tokens, output_chars = min(profile.reply_tokens, window // 3), min(profile.output_chars, window)
    return dataclasses.replace(profile, reply_tokens=reply_tokens, output_chars=output_chars)


def opening(profile: str = "small_coder", functions: Collection[str] = ("llm_query", "helpers")) -> tuple[Message, ...]:
    """Return the messages that every chat starts with: the system prompt and a few short runs as examples.

    Args:
        profile: a kind of models; the messages are in the file of that name beside this one.
        functions: the groups of functions that the run's code has, or those of a run as it comes; what is about others
            is left out.
    """
    return read_opening(_file(profile), functions)


def read_opening(text: str, functions: Collection[str] = ()) -> tuple[Message, ...]:
    """Return the messages of a prompt file.

    A line ``## system``, ``## user`` or ``## assistant``, in any case, starts a message of that role; a file without
    any is one system prompt. A line that begins with ``{rlm_query}`` or another group of functions stays only if the
    run has it, one with ``{!rlm_query}`` only if it does not, and so does a message whose first line ends with that.
    A comment in ``<!-- -->`` at the top is for people.

    Raises:
        ValueError: there is no text, or something stands before the first role.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")  # as Windows' editors write it
    text = _COMMENT.sub("", text).strip() + "\n"
    text = _ONLY_WITH.sub(lambda line: line[2] if _holds(line[1], functions) else "", text)
    before, *parts = _ROLE.split(text)
    if not parts and before.strip():
        return (Message("system", before.strip()),)
    if not parts:
        raise ValueError("A prompt has no text.")
    if before.strip():
        start = one_line(before, 40)
        raise ValueError(
            f"A prompt has text ({start}) before its first line like ## {parts[0]}. Put ## system above it."
        )
    messages = zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    return tuple(
        Message(cast("Role", role.lower()), content.strip())
        for role, condition, content in messages
        if _holds(condition or "", functions)
    )


def _holds(conditions: str, functions: Collection[str]) -> bool:
    """Whether a run with those functions has each group that is named, and none that is named with a ``!``."""
    return all((name in functions) != bool(no) for no, name in re.findall(r"(!?)(\w+)", conditions))


def first_message(
    question: str,
    data: Sequence[DataItem],
    mounts: Sequence[str] = (),
    *,
    net: bool = False,
    schema: Mapping[str, Any] | None = None,
) -> str:
    """Return the question with a description of the data, which itself stays out of the window.

    It ends by asking for code: a small model that reads the question last answers it out of the preview.

    Args:
        question: the user's.
        data: what the code finds as variables.
        mounts: paths at which it finds further files and folders of the user's.
        net: whether it may use the network.
        schema: a JSON Schema that the answer must fulfil.
    """
    names = " and ".join(f"`{name}`" for name in [*(item.name for item in data), *mounts])
    reach = [f"Code can read the user's files at {', '.join(f'`{path}`' for path in mounts)}."] if mounts else []
    reach += ["Code can use the internet."] if net else []
    form = f"FINAL takes JSON that fulfils this schema: {_compact(schema)}\n" if schema is not None else ""
    ask = f"Question: {question}\n{form}Reply with one ```repl block{f' that works on {names}' if names else ''}."
    return "\n\n".join([*map(_describe, data), *reach, ask])


def _compact(schema: Mapping[str, Any]) -> str:
    return head_and_tail(json.dumps(schema, ensure_ascii=False, separators=(",", ":")), _SCHEMA_CHARS)


@functools.cache
def _file(profile: str) -> str:
    return importlib.resources.files(__name__).joinpath(f"{profile}.md").read_text(encoding="utf-8")


def _describe(item: DataItem) -> str:
    """Describe one variable. The head is a repr: models copy raw text into their code instead of using the variable."""
    line = f"`{item.name}`: {item.type}, {item.summary}."
    return f"{line}\nIt starts: {item.head!r}" if item.head else line
