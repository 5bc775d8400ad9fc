"""The root model's chat: what stays, what was folded, and the turns since."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kowalski_jupyter.models.base import Message
from kowalski_jupyter.rlm.text import head_and_tail

_KEPT = 2
"""Turns that are never folded: the model is in the middle of them."""

_SHORT = 200


@dataclass(frozen=True, slots=True)
class TurnNote:
    """What a fold must not lose of a turn.

    `says` are the model's own words about it, `names` the variables that its code bound, `shown` its output in one
    line where it was short. What there is none of is empty.
    """

    turn: int
    says: str
    names: tuple[str, ...]
    shown: str

    def line(self) -> str:
        """Return the note in one line."""
        shown = f" → {self.shown}" if self.shown else ""
        return f"Turn {self.turn}: {self.says or '(no words)'}{shown}"


@dataclass(frozen=True, slots=True)
class _Turn:
    reply: Message
    said: Message
    note: Callable[[], TurnNote]


class History:
    """Opening and question, then replies and feedback in turn.

    Append-only between folds, so that the server's prefix cache keeps hitting.

    Args:
        opening: the messages that stay: the system prompt, examples, the question.
    """

    def __init__(self, opening: Sequence[Message]) -> None:
        self._head = list(opening)
        self._summary = ""
        self._turns: list[_Turn] = []
        self._folded: list[TurnNote] = []

    @property
    def messages(self) -> list[Message]:
        """The chat as it is sent next."""
        return self._with(self._turns)

    @property
    def older(self) -> list[Message]:
        """The chat without the turns that a fold leaves as they are."""
        return self._with(self._turns[:-_KEPT])

    def _with(self, turns: Sequence[_Turn]) -> list[Message]:
        fold = [Message("assistant", self._summary), Message("user", _FOLDED)] if self._summary else []
        return [*self._head, *fold, *(message for turn in turns for message in (turn.reply, turn.said))]

    def text(self) -> str:
        """Return the whole chat as one text."""
        return "".join([message.content for message in self.messages])

    def add(self, reply: str, said: str, note: Callable[[], TurnNote], images: tuple[str, ...] = ()) -> None:
        """Append a reply and what is said and shown to it; `note` is made when it is needed."""
        made_once = functools.cache(note)
        self._turns.append(_Turn(Message("assistant", reply or "(empty)"), Message("user", said, images), made_once))

    def forget_last(self) -> None:
        """Drop the last turn: a model that reads its own reply twice goes on repeating it."""
        del self._turns[-1:]

    def foldable(self) -> list[TurnNote]:
        """Return the notes of all turns that are folded or would be by `fold`; empty if no further turn can be."""
        more = [turn.note() for turn in self._turns[:-_KEPT]]
        return [*self._folded, *more] if more else []

    def fold(self, summary: str) -> None:
        """Put `summary` in the place of all turns but the last two, and of the summary before it."""
        self._folded = self.foldable()
        self._summary = summary
        del self._turns[:-_KEPT]

    def shorten(self) -> bool:
        """Cut the longest of the outputs that are left to head and tail; return whether one could be."""
        index = max(range(len(self._turns)), key=lambda i: len(self._turns[i].said.content), default=None)
        if index is None or len(said := self._turns[index].said.content) <= 2 * _SHORT:
            return False
        shortened = Message("user", head_and_tail(said, max(_SHORT, len(said) // 2)))
        self._turns[index] = dataclasses.replace(self._turns[index], said=shortened)
        return True


_FOLDED = (
    "Those turns were folded to keep this chat short. Variables are as you left them; code and whole outputs are in "
    'the list `history`: history[0]["code"], history[0]["output"] and so on. Go on.'
)
