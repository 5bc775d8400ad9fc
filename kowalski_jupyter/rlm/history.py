"""The root model's chat, kept within the window that its server really has."""

from __future__ import annotations

from collections.abc import Sequence

from kowalski_jupyter.models.base import Message
from kowalski_jupyter.rlm.text import head_and_tail

_CHARS_PER_TOKEN = 3  # code and numbers run denser than prose; too few tokens guessed means a refused prompt
_SHORT = 200


class History:
    """Opening and question, then replies and feedback in turn.

    Append-only, so that the server's prefix cache keeps hitting, until it no longer fits: then the
    oldest outputs are shortened first and the oldest turns left out next. The question always stays.

    Args:
        opening: the messages that stay: the system prompt, examples, the question.
        window: the served context in tokens, or None where the server does not say.
        reply_tokens: room to leave for the next reply, in tokens.
    """

    def __init__(self, opening: Sequence[Message], *, window: int | None, reply_tokens: int) -> None:
        self._head = list(opening)
        self._turns: list[tuple[Message, Message]] = []
        self._room = None if window is None else (window - reply_tokens) * _CHARS_PER_TOKEN

    @property
    def messages(self) -> list[Message]:
        """The chat as it is sent next."""
        return [*self._head, *(message for turn in self._turns for message in turn)]

    def add(self, reply: str, feedback: str) -> bool:
        """Append a reply and what is said to it. Return whether older turns had to be shortened for it."""
        self._turns.append((Message("assistant", reply or "(empty)"), Message("user", feedback)))
        return self._make_room()

    def forget_last(self) -> None:
        """Drop the last turn: a model that reads its own reply twice goes on repeating it."""
        del self._turns[-1:]

    def _make_room(self) -> bool:
        shortened = False
        for index in range(len(self._turns) - 1):
            if self._fits():
                return shortened
            reply, said = self._turns[index]
            self._turns[index] = (reply, Message("user", head_and_tail(said.content, _SHORT)))
            shortened = True
        while len(self._turns) > 1 and not self._fits():
            del self._turns[0]
            shortened = True
        return shortened

    def _fits(self) -> bool:
        return self._room is None or sum(len(m.content) for m in self.messages) <= self._room
