"""What a run leaves: a result, or an exception."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kowalski_jupyter.api.bundle import Document, run_bundle


class RlmError(Exception):
    """A run that could not be had, or that did not answer. The message is one line: what happened and what next.

    Attributes:
        partial: the best answer that there was when a limit ended the run, as a live value, or None.
        document: the run (docs/run-format.md), or None if none was started.
    """

    def __init__(self, message: str, *, partial: Any = None, document: Document | None = None) -> None:
        super().__init__(message)
        self.partial = partial
        self.document = document

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows instead of a traceback, which would be all ours."""
        return [f"RlmError: {self}"]


@dataclass(frozen=True, slots=True)
class Result:
    """An answered run. A notebook shows it as the run: answer, turns, code, outputs and sub-calls.

    Attributes:
        value: the answer as a live value; an instance of the pydantic model where one was asked for.
        document: the run (docs/run-format.md).
    """

    value: Any
    document: Document

    @property
    def text(self) -> str:
        """The answer as text, cut at 20,000 characters."""
        return str(self.document["answer"]["text"])

    @property
    def run(self) -> str:
        """The run's id."""
        return str(self.document["id"])

    @property
    def usage(self) -> dict[str, int]:
        """What the run used: turns, subcalls, subcalls_failed, prompt_tokens, completion_tokens …."""
        return dict(self.document["usage"])

    @property
    def seconds(self) -> float:
        """How long the run took."""
        return float(self.document["seconds"])

    def __repr__(self) -> str:
        return f"Result(run={self.run!r}, value={self.value!r})"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return run_bundle(self.document)
