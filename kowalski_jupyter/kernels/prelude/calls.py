"""The child kernel's end of the per-run socket: one JSON line each way, one connection per thread."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Mapping
from typing import Any


class QueryError(Exception):
    """A model could not answer. ``str()`` of it says why."""


class Calls:
    """A client of the run's socket (calls.py in kernels/ is the server)."""

    def __init__(self, path: str, token: str) -> None:
        self._path = path
        self._token = token
        self._local = threading.local()

    def call(self, method: str, payload: bytes = b"", **fields: Any) -> Any:
        """Ask the run, wait for its reply and return it.

        Raises:
            QueryError: the run could not do it, or is over.
        """
        header: Mapping[str, Any] = {"token": self._token, "call": method, "size": len(payload), **fields}
        message = json.dumps(header).encode() + b"\n" + payload
        try:
            stream = self._stream()
            stream.write(message)
            stream.flush()
            line = stream.readline()
        except BaseException as error:
            # An interrupt leaves half a reply behind: the next call needs a fresh connection.
            self._close()
            if isinstance(error, OSError):
                raise QueryError(f"The run cannot be reached: {error}") from None
            raise
        if not line.endswith(b"\n"):
            self._close()
            raise QueryError("The run has ended.")
        reply = json.loads(line)
        if "error" in reply:
            raise QueryError(reply["error"])
        return reply["reply"]

    def _stream(self) -> Any:
        local = self._local
        if getattr(local, "owner", None) != os.getpid():
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(self._path)
            local.stream = connection.makefile("rwb")
            local.connection = connection
            local.owner = os.getpid()
        return local.stream

    def _close(self) -> None:
        local = self._local
        if getattr(local, "owner", None) is not None:
            local.owner = None
            local.connection.close()
            local.stream.raw.close()
