"""What was sent where, and why: the last decisions, in words."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kowalski_jupyter.models.base import JobKind

KEPT: Final = 200
"""Decisions that are remembered."""

WORDS: Final[Mapping[JobKind, str]] = {"root": "a turn", "subcall": "a sub-call", "fold": "a summary"}
_MANY: Final[Mapping[JobKind, str]] = {"root": "turns", "subcall": "sub-calls", "fold": "summaries"}


def some(kind: JobKind, count: int) -> str:
    """Return so many of a kind in words: ``a sub-call``, ``3 sub-calls``."""
    return WORDS[kind] if count == 1 else f"{count} {_MANY[kind]}"


@dataclass(slots=True)
class Decision:
    """Requests of one kind that went to one end, one after the other.

    Attributes:
        last: when the last of them was sent, in seconds since the epoch.
        what: of which kind.
        did: what they did there: ``went to``.
        where: the end, in words.
        why: the reasons for the last of them, in words.
        count: how many.
    """

    last: float
    what: JobKind
    did: str
    where: str
    why: str
    count: int = 1

    def document(self) -> dict[str, Any]:
        """Return it as JSON, for those who show it."""
        did = self.did if self.count == 1 else self.did.replace("was ", "were ")
        what = some(self.what, self.count)
        return {"time": self.last, "what": what, "did": did, "where": self.where, "why": self.why}


class Decisions:
    """The last decisions, oldest first."""

    def __init__(self) -> None:
        self._kept: deque[Decision] = deque(maxlen=KEPT)

    def note(self, what: JobKind, where: str, why: str, *, did: str = "went to") -> None:
        """Remember one; where the last was of the same kind and at the same end it is counted there."""
        last = self._kept[-1] if self._kept else None
        if last is not None and (last.what, last.did, last.where) == (what, did, where):
            last.count += 1
            last.last, last.why = time.time(), why
        else:
            self._kept.append(Decision(time.time(), what, did, where, why))

    def documents(self, most: int = 20) -> list[dict[str, Any]]:
        """Return the newest ones as JSON, oldest first."""
        return [each.document() for each in list(self._kept)[-most:]]
