"""Runs that there are."""

from __future__ import annotations

from typing import Literal

from kowalski_jupyter.api.bundle import Document
from kowalski_jupyter.api.connected import Connected, told
from kowalski_jupyter.rlm.events import Event
from kowalski_jupyter.service.options import check_limits


class Runs(Connected):
    """Looks at runs, by their ids, and steers them. See `Connected`."""

    def cancel(self, run_id: str) -> None:
        """Stop a run and return when it has ended."""
        with told():
            self._connected().cancel(run_id)

    def tell(self, run_id: str, note: str) -> None:
        """Add a note that the model reads in its next turn."""
        with told():
            self._connected().steer(run_id, tell=note)

    def allow(self, run_id: str, **limits: float) -> None:
        """Allow a run more, by giving higher values for some of those settings of `RLM` that are limits.

        Raises:
            ValueError: a limit is unknown or wrong.
        """
        checked = check_limits(limits)
        with told():
            self._connected().steer(run_id, limits=checked)

    def decide(self, run_id: str, decision: Literal["run", "edit", "skip"], code: str = "") -> None:
        """Give the word on the block that waits in a run with `step`; ``edit`` runs `code` instead."""
        with told():
            self._connected().steer(run_id, decide=decision, code=code)

    def events(self, run_id: str) -> list[Event]:
        """Return the events of a run that there are so far."""
        with told():
            return self._connected().record(run_id)

    def document(self, run_id: str) -> Document:
        """Return a run as it is now (docs/run-format.md)."""
        with told():
            return self._connected().document(run_id)

    def export(self, run_id: str, form: Literal["notebook", "jsonl"]) -> bytes:
        """Return a run as a runnable notebook of the way that led to the answer, or as JSON lines of all of it."""
        with told():
            return self._connected().export(run_id, form)
