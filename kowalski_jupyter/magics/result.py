"""What a run leaves in the notebook: a result, or an exception."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kowalski_jupyter.magics.bundle import Document, run_bundle


class RlmError(Exception):
    """A run that did not answer. Shown as one line: the run's own output says the rest."""

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows instead of a traceback, which would be all ours."""
        return [f"RlmError: {self}"]


@dataclass(frozen=True, slots=True)
class RlmResult:
    """An answered run; `%rlm last` returns it.

    Attributes:
        value: the answer as a live value.
        document: the run (docs/run-format.md).
    """

    value: Any
    document: Document

    @property
    def text(self) -> str:
        """The answer as text."""
        return str(self.document["answer"]["text"])

    @property
    def run(self) -> str:
        """The run's id."""
        return str(self.document["id"])

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return run_bundle(self.document)
