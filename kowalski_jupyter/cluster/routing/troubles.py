"""What went wrong with requests and is put right, told in few lines."""

from __future__ import annotations

from collections import Counter
from functools import partial

from kowalski_jupyter.cluster.routing.decisions import some
from kowalski_jupyter.cluster.routing.telling import Tell, Telling
from kowalski_jupyter.models.base import JobKind


class Troubles:
    """Gathers what is told. Belongs to one event loop."""

    def __init__(self) -> None:
        self._lines: dict[tuple[Tell, str], Telling] = {}

    def lost(self, tell: Tell, reason: str, kind: JobKind) -> None:
        """Note that a request was lost, half a line says why, and that it is sent again."""
        key = (tell, reason)
        if key not in self._lines:
            self._lines[key] = Telling(tell, partial(_words, reason), partial(self._lines.pop, key))
        self._lines[key].add(kind)

    def say(self, tell: Tell) -> None:
        """Tell now what was not told there yet: it may have an end soon."""
        for key, line in self._lines.items():
            if key[0] == tell:
                line.say()

    def close(self) -> None:
        """Tell no more."""
        for line in self._lines.values():
            line.close()
        self._lines.clear()


def _words(reason: str, lost: Counter[str]) -> str:
    kinds: tuple[JobKind, ...] = ("root", "fold", "subcall")
    what = " and ".join(some(kind, lost[kind]) for kind in kinds if lost[kind])
    return f"{reason}: {what} {'is' if lost.total() == 1 else 'are'} sent again."
