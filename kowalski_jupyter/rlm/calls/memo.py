"""Replies of sub-calls by what was asked, so that nobody pays twice for the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, Protocol

_encode: Final = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode


def memo_key(model: str, prompt: str, parameters: Mapping[str, Any]) -> str:
    """Return a name for a prompt to a model with all the parameters that shape the reply."""
    said = _encode([model, prompt, parameters])
    return hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class Memo(Protocol):
    """Where a run looks for the reply to a sub-call before it asks a model, and puts the replies that it gets.

    Used on the event loop: both must return at once.
    """

    def get(self, key: str) -> str | None:
        """Return the reply that is known for `key`, or None."""
        ...

    def put(self, key: str, reply: str) -> None:
        """Remember a reply that a model has given."""
        ...


class RunMemo:
    """The memory of one run, on top of what is known already.

    Args:
        known: replies by key from elsewhere: an interrupted run that goes on, other runs. Not written to.
    """

    def __init__(self, known: Mapping[str, str] | None = None) -> None:
        self._known = known or {}
        self._own: dict[str, str] = {}

    def get(self, key: str) -> str | None:
        """See `Memo.get`."""
        own = self._own.get(key)
        return self._known.get(key) if own is None else own

    def put(self, key: str, reply: str) -> None:
        """See `Memo.put`."""
        self._own[key] = reply
