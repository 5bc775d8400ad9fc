"""The notebook side's way to a service: blocking HTTP over its unix socket."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx

from kowalski_jupyter.kernels.values import decode_answer
from kowalski_jupyter.rlm.events import Event, from_json
from kowalski_jupyter.service.request import RunRequest

_CONNECT_SECONDS = 1.0
"""A socket that nobody listens on refuses at once; more than this is a machine in trouble."""

_GREET_SECONDS = 5.0
"""A service that listens may be slow to say hello on a busy machine; it is not gone."""

_POLL_SECONDS = 0.02


class ServiceError(Exception):
    """The service refused, or is gone. The message is for the user."""


@dataclass(frozen=True, slots=True)
class Info:
    """What a service says of itself."""

    version: str
    host: str
    data_root: Path


class ServiceClient:
    """Talks to one service. Safe to use from one thread at a time.

    Args:
        socket: path of the service's unix socket.
        token: the service's token.

    Raises:
        ServiceError: nothing answers there within a second.
    """

    def __init__(self, socket: str, token: str) -> None:
        if not Path(socket).is_socket():
            raise ServiceError(f"There is no kowalski service at {socket}.")
        self._http = httpx.Client(
            transport=httpx.HTTPTransport(uds=socket),
            base_url="http://kowalski",
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(None, connect=_CONNECT_SECONDS),
        )
        try:
            self.info = self._greet()
        except ServiceError:
            self._http.close()
            raise

    def alive(self) -> bool:
        """Return whether the service still answers."""
        try:
            self._greet()
        except ServiceError:
            return False
        return True

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def run(self, request: RunRequest) -> Iterator[Iterator[list[Event]]]:
        """Start a run and give its events in batches, ten a second at most, to the last.

        Leaving the context before the last event closes the stream, which cancels a run that is not detached.

        Raises:
            ServiceError: the request was refused, or the service went away during the run.
        """
        with self._stream("POST", "/runs", json=request.to_json()) as batches:
            yield batches

    @contextmanager
    def follow(self, run_id: str) -> Iterator[Iterator[list[Event]]]:
        """Give a run's events from its first one, like `run`; leaving early cancels nothing."""
        with self._stream("GET", f"/runs/{run_id}/events") as batches:
            yield batches

    def answer(self, run_id: str) -> Any:
        """Return the live value of a run's answer."""
        response = self._request("GET", f"/runs/{run_id}/answer")
        return decode_answer(response.headers["X-Kowalski-Kind"], response.content)

    def document(self, run_id: str) -> dict[str, Any]:
        """Return a run as docs/run-format.md describes it."""
        return dict(self._request("GET", f"/runs/{run_id}").json())

    def ended(self, run_id: str, *, within: float) -> dict[str, Any]:
        """Return a run's document once its last event is there, or as it is after `within` seconds."""
        deadline = time.monotonic() + within
        while True:
            document = self.document(run_id)
            if document["state"] in ("done", "failed", "cancelled") or time.monotonic() > deadline:
                return document
            time.sleep(_POLL_SECONDS)

    def status(self) -> dict[str, Any]:
        """Return runs, model and machine."""
        return dict(self._request("GET", "/status").json())

    def cancel(self, run_id: str) -> None:
        """Stop a run and return when it has ended."""
        self._request("DELETE", f"/runs/{run_id}")

    def _greet(self) -> Info:
        said = self._request("GET", "/info", timeout=_GREET_SECONDS).json()
        return Info(said["version"], said["host"], Path(said["data_root"]))

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise ServiceError(f"The kowalski service does not answer ({error}).") from error
        if response.is_error:
            raise ServiceError(_refusal(response))
        return response

    @contextmanager
    def _stream(self, method: str, path: str, **options: Any) -> Iterator[Iterator[list[Event]]]:
        try:
            with self._http.stream(method, path, **options) as response:
                if response.is_error:
                    response.read()
                    raise ServiceError(_refusal(response))
                yield _batches(response)
        except httpx.HTTPError as error:
            raise ServiceError(
                f"The kowalski service went away during the run ({error}). Start it again and re-run the cell."
            ) from error


def _batches(response: httpx.Response) -> Iterator[list[Event]]:
    batch: list[Event] = []
    for line in response.iter_lines():
        if line:
            event = from_json(json.loads(line))
            if event is not None:
                batch.append(event)
        elif batch:
            yield batch
            batch = []


def _refusal(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"The kowalski service answered {response.status_code}."
