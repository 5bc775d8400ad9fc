"""The way to the service that all parts of `RLM` share."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from kowalski_jupyter.api.result import RlmError
from kowalski_jupyter.service.connect import connect
from kowalski_jupyter.service.socket.client import ServiceClient
from kowalski_jupyter.service.socket.wire import ServiceError


class Connected:
    """Connects to the service when it first has to; may be used from any thread.

    Every method raises `RlmError` where the service refuses or is gone.
    """

    def __init__(self) -> None:
        self._client: ServiceClient | None = None
        self._line = ""
        self._lock = threading.Lock()

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
