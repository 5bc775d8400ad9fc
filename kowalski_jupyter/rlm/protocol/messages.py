"""The shapes in which servers and client libraries hand over a reply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kowalski_jupyter.rlm.protocol.toolcalls import ToolCall, from_arguments


@dataclass(frozen=True, slots=True)
class ReadMessage:
    """A message in one shape: its text, the reasoning that came apart from it, and native tool calls."""

    text: str
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()


def read_message(message: object) -> ReadMessage:
    """Read a reply's text, list of content parts, None, or message (a mapping or an object with ``content``).

    Parts that hold no text (images, audio) are passed over.

    Raises:
        TypeError: `message` is none of these.
    """
    if message is None or isinstance(message, str):
        return ReadMessage(message or "")
    if isinstance(message, (list, tuple)):
        return _read_parts(message)
    if not isinstance(message, Mapping) and not hasattr(message, "content"):
        kind = type(message).__name__
        raise TypeError(f"a reply is text, a list of content parts, None, or a message with `content`; got {kind}")
    content = _get(message, "content")
    read = _read_parts(content) if isinstance(content, (list, tuple)) else ReadMessage(_text(content))
    reasoning = next(filter(None, (_text(_get(message, key)) for key in ("reasoning_content", "reasoning"))), "")
    calls = _get(message, "tool_calls")
    calls = calls if isinstance(calls, (list, tuple)) else ()
    return ReadMessage(read.text, reasoning or read.reasoning, tuple(_read_call(call) for call in calls))


def _read_parts(parts: list[object] | tuple[object, ...]) -> ReadMessage:
    texts, thoughts = [], []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        else:
            texts.append(_text(_get(part, "text")))
            thoughts.append(_text(_get(part, "thinking")) or _text(_get(part, "reasoning")))
    return ReadMessage("".join(texts), "\n".join(filter(None, thoughts)))


def _read_call(call: object) -> ToolCall:
    function = _get(call, "function") or call
    return from_arguments(_text(_get(function, "name")), _get(function, "arguments"))


def _get(owner: object, key: str) -> object:
    return owner.get(key) if isinstance(owner, Mapping) else getattr(owner, key, None)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
