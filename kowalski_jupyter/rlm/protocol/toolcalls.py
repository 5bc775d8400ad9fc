"""Code that a model hands over as a tool call instead of in a fence.

No tools are offered, but models trained on them fall back into the habit. Two shapes reach the text of a
reply between ``<tool_call>`` tags: a JSON object with ``name`` and ``arguments`` (Hermes, Qwen2.5) and
``<function=NAME><parameter=KEY>`` (Qwen3-Coder). Servers that know the shape put it into ``tool_calls``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from kowalski_jupyter.rlm.protocol.languages import language_of

_CODE_KEYS = ("code", "source", "script", "command", "cmd", "input")
_FUNCTION = re.compile(r"\s*<function=([^>\n]+)>")
_PARAMETER = re.compile(r"<parameter=([^>\n]+)>")
_PARAMETER_END = "</parameter>"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool's name and the code found in its arguments; "" if there is none."""

    name: str
    code: str

    @property
    def language(self) -> str:
        """The language that the tool's name speaks of: ``run_python`` and ``repl`` are ``python``; or ""."""
        languages = [language_of(word) for word in re.split(r"[\W_]+", self.name.lower()) if word != "repl"]
        return next(filter(None, languages), language_of("repl") if "repl" in self.name.lower() else "")


def from_arguments(name: str, arguments: object) -> ToolCall:
    """Read one call of a message's ``tool_calls``: `arguments` is a mapping, its JSON, or bare code."""
    if isinstance(arguments, str):
        arguments = _loads(arguments) or arguments  # some models send the bare code
    if isinstance(arguments, str):
        return ToolCall(name, arguments.strip("\n"))
    if not isinstance(arguments, Mapping):
        return ToolCall(name, "")
    texts = {str(key): value for key, value in arguments.items() if isinstance(value, str)}
    key = next((key for key in _CODE_KEYS if key in texts), next(iter(texts), "") if len(texts) == 1 else "")
    return ToolCall(name, texts.get(key, ""))


def from_text(text: str) -> ToolCall | None:
    """Read what stood between ``<tool_call>`` tags; None if it has neither known shape."""
    if function := _FUNCTION.match(text):
        return from_arguments(function[1].strip(), _parameters(text, function.end()))
    call = _loads(text)
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return None
    return from_arguments(call["name"], call.get("arguments", call.get("parameters")))


def _loads(text: str) -> object:
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None


def _parameters(text: str, start: int) -> dict[str, str]:
    found = {}
    while match := _PARAMETER.search(text, start):
        end = text.find(_PARAMETER_END, match.end())
        end = len(text) if end < 0 else end
        found[match[1].strip()] = text[match.end() : end].strip("\n")
        start = end
    return found
