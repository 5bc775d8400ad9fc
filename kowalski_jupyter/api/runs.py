"""Runs that there are, and the service that has them."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, Self

from kowalski_jupyter.api.bundle import Document
from kowalski_jupyter.api.result import RlmError
from kowalski_jupyter.rlm.events import Event
from kowalski_jupyter.service.connect import connect
from kowalski_jupyter.service.options import check_limits
from kowalski_jupyter.service.socket.client import ServiceClient
from kowalski_jupyter.service.socket.wire import ServiceError


class Runs:
    """Looks at runs, by their ids, and steers them. Connects when it first has to; may be used from any thread.

    Every method raises `RlmError` where the service refuses or is gone.
    """

    def __init__(self) -> None:
        self._client: ServiceClient | None = None
        self._line = ""
        self._lock = threading.Lock()

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

    # -- the service -----------------------------------------------------------------------------------

    def connect(self) -> str:
        """Connect to the service, started if there is none; return "", or a line if it is not the Jupyter server's."""
        with told():
            self._connected()
            return self._line

    def status(self) -> dict[str, Any]:
        """Return the service's runs, model and machine (docs/run-format.md, `IStatus`), and which host it has."""
        with told():
            client = self._connected()
            return {**client.status(), "host": client.info.host}

    def close(self) -> None:
        """Close the connections. May be called twice."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connected(self) -> ServiceClient:
        with self._lock:
            if self._client is None or not self._client.alive():
                if self._client is not None:
                    self._client.close()
                self._client, self._line = connect()
                weakref.finalize(self, self._client.close)  # for who does not close
            return self._client


@contextmanager
def told() -> Iterator[None]:
    """Turn what the service refuses into the one error of this API."""
    try:
        yield
    except ServiceError as error:
        raise RlmError(str(error)) from error
