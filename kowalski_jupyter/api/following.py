"""What is seen of one run while its events come in, and what it comes to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kowalski_jupyter.api.bundle import Document
from kowalski_jupyter.api.result import Result, RlmError
from kowalski_jupyter.api.schema import Schema, as_instance, refusal
from kowalski_jupyter.kernels.values import decode_answer
from kowalski_jupyter.rlm.events import AnswerJudged, AnswerOffered, ApprovalAsked, ApprovalGiven, Event
from kowalski_jupyter.rlm.trace import Trace

OnUpdate = Callable[[Document], None]
Step = Callable[[str, str], str | None]
"""Called with language and code of a block; returns the code to run, or None to skip the block."""


class Following:
    """A run as its follower sees it. Used by the blocking and the asynchronous methods of `RLM` alike.

    Args:
        on_update: told of the run's document after each batch of events.
        step: the user's function that decides on blocks, if there is one.
        schema: judges answers, if it is a model class.

    Attributes:
        waiting: the block or the answer that waits for a word from here, if one does.
    """

    def __init__(
        self, on_update: OnUpdate | None = None, step: Step | None = None, schema: Schema | None = None
    ) -> None:
        self.waiting: ApprovalAsked | AnswerOffered | None = None
        self._trace = Trace()
        self._on_update = on_update
        self._step = step
        self._schema = schema

    @property
    def run(self) -> str:
        """The run's id, or empty before its first event."""
        return self._trace.run

    def take(self, batch: Sequence[Event]) -> None:
        """Take the next events, in order."""
        for event in batch:
            self._trace.apply(event)
            match event:
                case ApprovalAsked() if self._step is not None:
                    self.waiting = event
                case AnswerOffered() if self._schema is not None:
                    self.waiting = event
                case ApprovalGiven() | AnswerJudged():
                    self.waiting = None
                case _:
                    pass
        if self._on_update is not None:
            self._on_update(self._trace.document())

    def show(self, document: Document) -> None:
        """Tell the user's function, if there is one."""
        if self._on_update is not None:
            self._on_update(document)

    def word(self) -> dict[str, Any]:
        """Ask the user's function or class about what waits, and return the word for the service."""
        asked, self.waiting = self.waiting, None
        if isinstance(asked, AnswerOffered):
            return {"judge": refusal(self._schema, decode_answer("json", asked.data.encode()))}
        if asked is None or self._step is None:
            raise RuntimeError("nothing waits")
        code = self._step(asked.language, asked.code)
        if code is None:
            return {"decide": "skip", "cell": asked.cell}
        if code == asked.code:
            return {"decide": "run", "cell": asked.cell}
        return {"decide": "edit", "cell": asked.cell, "code": code}

    def broken(self, error: Exception) -> RlmError:
        """Return the error of a run whose service refused it or went away, after showing it as failed."""
        if not self.run:
            return RlmError(str(error))
        document = {**self._trace.document(), "state": "failed", "error": str(error)}
        self.show(document)
        return RlmError(str(error), document=document)

    def cut_short(self) -> Document:
        """Return the document of a run that was cancelled before its last event came."""
        return {**self._trace.document(), "state": "cancelled"}

    @property
    def answered(self) -> bool:
        """Whether there is an answer, be it a partial one."""
        return self._trace.answered

    def conclude(self, value: Any, schema: Schema | None = None) -> Result:
        """Return the result of a run that has ended; `value` is its answer, None without one.

        Raises:
            RlmError: it did not answer, or not what the user's model class takes.
        """
        document = self._trace.document()
        if document["state"] == "cancelled":
            raise RlmError(f"Run {self.run} was cancelled.", partial=value, document=document)
        if document["state"] != "done":
            error = document["error"] or f"Run {self.run} ended without saying how."
            raise RlmError(error, partial=value, document=document)
        try:
            return Result(as_instance(schema, value), document)
        except ValueError as error:
            said = " ".join(str(error).split())
            raise RlmError(
                f"The answer does not fit the model class: {said.rstrip('.')}. The model knows no rules but those of "
                "the class's JSON Schema: write this one into the question too, and run again.",
                partial=value,
                document=document,
            ) from None
