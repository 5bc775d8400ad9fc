"""Decodes the streams of chat-completion servers, tolerantly.

Two steps: bytes to server-sent events (`EventDecoder`), and the JSON of one event to a `Delta`
(`parse_chunk`). Servers differ in what they leave out, set to null or add; whatever can be understood
is, and what cannot is a `ModelError`, never another exception.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from kowalski_jupyter.models.base import Delta, ModelCutOffError, ModelError, ModelRefusedError, Usage
from kowalski_jupyter.models.window import stated_window, too_long

MAX_LINE: Final = 32 << 20
"""Bytes of one line above which a stream is taken for something else than a reply."""


class EventDecoder:
    """Server-sent events from pieces of bytes cut anywhere.

    An event is its data (lines joined) or a comment, which starts with a colon. Fields other than
    ``data`` do not matter to chat completions, except ``error``, which older llama.cpp servers send.
    Follows https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream.

    Args:
        whole: the stream is no stream but one JSON document, from a server that cannot stream.
    """

    def __init__(self, *, whole: bool = False) -> None:
        self._whole = whole
        self._tail: list[bytes] = []
        self._tail_size = 0
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Yield each event that `piece` completes.

        Raises:
            ModelError: a line is longer than any server would send.
        """
        if self._whole:
            self._keep(piece)
            return
        # A CR at the end may be the first half of a CRLF: it stays in the tail until we know.
        end = max(piece.rfind(b"\n"), piece.rfind(b"\r", 0, -1)) + 1
        if self._tail and self._tail[-1].endswith(b"\r"):
            end = max(end, 1 if piece.startswith(b"\n") else 0)
        if not end:
            self._keep(piece)
            return
        lines = b"".join((*self._tail, piece[:end])).splitlines()
        self._tail, self._tail_size = [], 0
        self._keep(piece[end:])
        for line in lines:
            yield from self._line(line)

    def finish(self) -> Iterator[bytes]:
        """Yield what a stream without a last empty line left behind."""
        last, self._tail = b"".join(self._tail), []
        if self._whole:
            yield from (last,) if last.strip() else ()
            return
        for line in (*last.splitlines(), b""):
            yield from self._line(line)

    def _keep(self, rest: bytes) -> None:
        if rest:
            self._tail.append(rest)
            self._tail_size += len(rest)
            if self._tail_size > MAX_LINE:
                raise ModelError(
                    f"The server sent a line of more than {MAX_LINE >> 20} MB: that is no chat completion. "
                    "Check that KOWALSKI_URL is the address of an OpenAI-compatible server."
                )

    def _line(self, line: bytes) -> Iterator[bytes]:
        if not line:
            if self._data:
                yield b"\n".join(self._data)
                self._data.clear()
        elif line.startswith(b":"):
            yield line
        else:
            field, _, value = line.partition(b":")
            if field == b"data":
                self._data.append(value.removeprefix(b" "))
            elif field == b"error":
                self._data.append(b'{"error":' + value + b"}")


def parse_chunk(data: bytes) -> Delta:
    """Read one chunk of a streamed completion, or a whole completion that was not streamed.

    Returns:
        What it holds. A chunk with nothing in it gives an empty `Delta`.

    Raises:
        ModelRefusedError: the chunk is the server's error message.
        ModelCutOffError: it is not JSON, or not an object: the rest of the reply cannot be trusted.
    """
    try:
        chunk = json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        chunk = None
    if not isinstance(chunk, dict):
        shown = data[:120].decode("utf-8", "replace")
        raise ModelCutOffError(f"The server broke off the reply with a line that is not JSON: {shown!r}. Run again.")
    if chunk.get("error"):
        reason = error_text(chunk) or "no reason given"
        what, window = f"The server failed while answering: {reason}", stated_window(reason)
        if window is not None:
            raise too_long(what, window)  # LM Studio begins a reply before it looks
        raise ModelRefusedError(f"{what}. Look at its log, then run again.")
    choices = chunk.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = choice.get("delta") or choice.get("message")
    if not isinstance(message, dict):
        message = {}
    finish = choice.get("finish_reason")
    return Delta(
        text=_text(message.get("content")) + _arguments(message.get("tool_calls")),
        reasoning=_text(message.get("reasoning_content") or message.get("reasoning")),
        finish_reason=finish if isinstance(finish, str) and finish else None,
        usage=_usage(chunk.get("usage")),
        reply_id=_text(chunk.get("id")),
    )


def error_text(body: object) -> str:
    """Return the message in a decoded error body of any of the usual shapes, or an empty string.

    ``{"error": {"message": …}}`` (OpenAI, exo), ``{"error": "…"}`` (Ollama), ``{"detail": "…"}`` and
    ``{"detail": [{"loc": […], "msg": …}]}`` (FastAPI: exo's router and its validation).
    """
    if not isinstance(body, dict):
        return ""
    found = body.get("error") or body.get("detail") or body.get("message")
    if isinstance(found, dict):
        found = found.get("message") or found.get("type")
    if isinstance(found, list):
        items = [item for item in found if isinstance(item, dict)]
        found = "; ".join(f"{'.'.join(map(str, item.get('loc') or ()))}: {item.get('msg')}" for item in items)
    return found.strip().rstrip(".") if isinstance(found, str) else ""


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_text(part.get("text")) if isinstance(part, dict) else _text(part) for part in content)
    return ""


def _arguments(calls: object) -> str:
    """What a model put into tool calls, though it was given no tools: it belongs to what it said."""
    if not isinstance(calls, list):
        return ""
    functions = [call.get("function") for call in calls if isinstance(call, dict)]
    return "".join(_text(function.get("arguments")) for function in functions if isinstance(function, dict))


def _usage(usage: object) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return Usage(_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")), _count(cached))


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0
