"""`share` and `shared`: data on its way between the languages of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from .calls import Calls, Request
from .encode import TEXT
from .forms import with_form
from .plain import as_json
from .text import valid


def sharing(calls: Calls) -> dict[str, Callable[..., Any]]:
    """Return both functions, by name."""

    def share(name: str, value: Any) -> None:
        """Keep `value` under `name` for this run's code in other languages: text, JSON, bytes, tables as records."""
        _check("share", name)
        if isinstance(value, bytes | bytearray | memoryview):
            kind, data = "bytes", bytes(value)
        else:
            kind, data = "json", as_json(value).encode("utf-8", "backslashreplace")
        text = valid(repr(value)[:TEXT])
        calls.call(Request("share", {"name": name, "kind": kind, "type": type(value).__name__, "text": text}, data))

    def shared(name: str) -> Any:
        """Return what this run's code, in whatever language, keeps under `name`."""
        _check("shared", name)
        reply = calls.call(Request("shared", {"name": name}))
        return reply.payload if reply.value["kind"] == "bytes" else json.loads(reply.payload)

    return {function.__name__: with_form(function, function.__name__) for function in (share, shared)}


def _check(function: str, name: Any) -> None:
    if not isinstance(name, str):
        raise TypeError(f"{function} takes a name, a str, not {type(name).__name__}")
