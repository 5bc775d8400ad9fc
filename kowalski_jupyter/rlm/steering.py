"""The user's hand on a run that is going on: notes, more room, a word on each block and on the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Literal

from kowalski_jupyter.rlm.events import (
    AnswerJudged,
    AnswerOffered,
    ApprovalAsked,
    ApprovalGiven,
    Event,
    LimitsRaised,
    Told,
)
from kowalski_jupyter.rlm.protocol import Block

Decision = Literal["run", "edit", "skip"]


class SteeringError(Exception):
    """The run cannot do that now. The message is for the user."""


class Steering:
    """What the user wants of one run. The run reads it; the service writes it.

    Args:
        emit: takes the events.
        on_limits: told of raised limits, by the names of `RunSettings`.
    """

    def __init__(self, emit: Callable[[Event], None], on_limits: Callable[[Mapping[str, float]], None]) -> None:
        self._emit = emit
        self._on_limits = on_limits
        self._notes: list[str] = []
        self._asked: ApprovalAsked | None = None
        self._given: asyncio.Future[ApprovalGiven] | None = None
        self._offered: AnswerOffered | None = None
        self._judged: asyncio.Future[str] | None = None

    def tell(self, note: str) -> None:
        """Add a note for the model's next turn.

        Raises:
            SteeringError: it is empty.
        """
        if not note.strip():
            raise SteeringError("The note is empty. Write what the model should know.")
        self._notes.append(note.strip())
        self._emit(Told(note.strip()))

    def take_notes(self) -> list[str]:
        """Return the notes that the model has not read yet, which now count as read."""
        notes, self._notes = self._notes, []
        return notes

    def raise_limits(self, limits: Mapping[str, float]) -> None:
        """Allow the run more.

        Raises:
            SteeringError: a limit is unknown or would not be raised.
        """
        try:
            self._on_limits(limits)
        except ValueError as error:
            raise SteeringError(str(error)) from None
        self._emit(LimitsRaised(dict(limits)))

    async def approve(self, turn: int, cell: str, block: Block) -> Block | None:
        """Wait for the user's word on a block; return the block to run, or None to skip it."""
        self._asked = ApprovalAsked(turn, cell, block.language, block.code)
        self._given = asyncio.get_running_loop().create_future()
        self._emit(self._asked)
        try:
            given = await self._given
        finally:
            self._asked = self._given = None
        if given.decision == "skip":
            return None
        return Block(block.language, given.code) if given.decision == "edit" else block

    def decide(self, cell: str, decision: Decision, code: str = "") -> None:
        """Give the word that `approve` waits for.

        Raises:
            SteeringError: no block of that cell waits, or an edit has no code.
        """
        if self._asked is None or self._given is None or self._given.done() or cell not in ("", self._asked.cell):
            raise SteeringError("No block waits for a word. A run asks for one only when it was started with --step.")
        if decision == "edit" and not code.strip():
            raise SteeringError("An edit needs the code to run instead.")
        given = ApprovalGiven(self._asked.cell, decision, code if decision == "edit" else "")
        self._emit(given)
        self._given.set_result(given)

    async def offer(self, turn: int, data: str) -> str:
        """Wait for the word on an answer, which is `data` as JSON; return why it is not taken, empty if it is."""
        self._offered = AnswerOffered(turn, data)
        self._judged = asyncio.get_running_loop().create_future()
        self._emit(self._offered)
        try:
            return await self._judged
        finally:
            self._offered = self._judged = None

    def judge(self, error: str) -> None:
        """Give the word that `offer` waits for: why the answer is not taken, or nothing if it is.

        Raises:
            SteeringError: no answer waits.
        """
        if self._offered is None or self._judged is None or self._judged.done():
            raise SteeringError("No answer waits for a word.")
        self._emit(AnswerJudged(self._offered.turn, error))
        self._judged.set_result(error)
