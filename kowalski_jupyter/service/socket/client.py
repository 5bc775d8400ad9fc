"""The blocking way to a service: HTTP over its unix socket."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

import httpx

from kowalski_jupyter.rlm.events import Event, from_json
from kowalski_jupyter.service.request import AgainRequest, RunRequest
from kowalski_jupyter.service.socket.wire import (
    UNLIMITED,
    Address,
    Info,
    SentAnswer,
    ServiceError,
    lost,
    read_answer,
    read_batch,
    refusal,
    run_path,
    silence,
)

__all__ = ["Info", "ServiceClient", "ServiceError"]

_GREET_SECONDS = 5.0
"""A service that listens may be slow to say hello on a busy machine; it is not gone."""

_POLL_SECONDS = 0.02

Opened = Iterator[Iterator[list[Event]]]


class ServiceClient:
    """Talks to one service. May be used from several threads at a time.

    Args:
        socket: path of the service's unix socket.
        token: the service's token.

    Raises:
        ServiceError: nothing answers there within a second.
    """

    def __init__(self, socket: str, token: str) -> None:
        if not Path(socket).is_socket():
            raise ServiceError(f"There is no kowalski service at {socket}.")
        self.address = Address(socket, token)
        self._answers: dict[str, SentAnswer] = {}
        transport = httpx.HTTPTransport(uds=socket, verify=False, limits=UNLIMITED)  # no TLS: certificates are slow
        self._http = httpx.Client(transport=transport, **self.address.client_options())
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
    def run(self, request: RunRequest) -> Opened:
        """Start a run and give its events in batches, about ten a second, to the last.

        Leaving the context before the last event closes the stream, which cancels a run that is not detached.

        Raises:
            ServiceError: the request was refused, or the service went away during the run.
        """
        with self._stream("POST", "/runs", json=request.to_json()) as batches:
            yield batches

    @contextmanager
    def resume(self, run_id: str, request: AgainRequest) -> Opened:
        """Go on with a recorded run, or branch from it, as a run of its own; like `run`."""
        with self._stream("POST", run_path(run_id, "/resume"), json=request.to_json()) as batches:
            yield batches

    @contextmanager
    def replay(self, run_id: str, request: AgainRequest) -> Opened:
        """Go through a recorded run again with the recorded replies, as a run of its own; like `run`."""
        with self._stream("POST", run_path(run_id, "/replay"), json=request.to_json()) as batches:
            yield batches

    @contextmanager
    def follow(self, run_id: str) -> Opened:
        """Give a run's events from its first one, like `run`; leaving early cancels nothing."""
        with self._stream("GET", run_path(run_id, "/events")) as batches:
            yield batches

    def answer(self, run_id: str) -> Any:
        """Return the live value of a run's answer."""
        sent = self._answers.pop(run_id, None) or read_answer(self._request("GET", run_path(run_id, "/answer")))
        return sent.value()

    def document(self, run_id: str) -> dict[str, Any]:
        """Return a run as docs/run-format.md describes it."""
        return dict(self._request("GET", run_path(run_id)).json())

    def record(self, run_id: str) -> list[Event]:
        """Return the events of a run that there are so far."""
        said = self._request("GET", run_path(run_id, "/record")).json()["events"]
        return [event for event in map(from_json, said) if event is not None]

    def export(self, run_id: str, form: Literal["notebook", "jsonl"]) -> bytes:
        """Return a run as a file of that form."""
        return self._request("GET", run_path(run_id, "/export"), params={"format": form}).content

    def ended(self, run_id: str, *, within: float) -> dict[str, Any]:
        """Return a run's document once its last event is there, or as it is after `within` seconds."""
        deadline = time.monotonic() + within
        while True:
            document = self.document(run_id)
            if document["state"] in ("done", "failed", "cancelled") or time.monotonic() > deadline:
                return document
            time.sleep(_POLL_SECONDS)

    def devices(self) -> dict[str, Any]:
        """Return all devices as they are now, and alerts (docs/run-format.md, `IDevices`)."""
        return dict(self._request("GET", "/devices").json())

    def models(self) -> list[dict[str, Any]]:
        """Return all models that there are (docs/run-format.md, `IKnownModel`)."""
        return list(self._request("GET", "/models").json()["models"])

    def load(
        self, model: str, sharding: str, min_nodes: int, on_progress: Callable[[str, int | None, int | None], None]
    ) -> dict[str, Any]:
        """Have a model loaded, and return its instance when it is ready.

        Raises:
            ServiceError: it cannot be loaded; the text says why.
        """
        wanted = {"model": model, "sharding": sharding, "min_nodes": min_nodes}
        with self._opened("POST", "/models/load", json=wanted) as response:
            for line in response.iter_lines():
                said = json.loads(line)
                if "error" in said:
                    raise ServiceError(said["error"])
                if "instance" in said:
                    return dict(said["instance"])
                on_progress(said["text"], said["done"], said["total"])
        raise ServiceError("The kowalski service went away while the model was loaded.")

    def unload(self, model: str) -> int:
        """Have a model unloaded; return how many instances that were."""
        return int(self._request("POST", "/models/unload", json={"model": model}).json()["unloaded"])

    def status(self) -> dict[str, Any]:
        """Return runs, model and machine."""
        return dict(self._request("GET", "/status").json())

    def steer(self, run_id: str, **word: Any) -> None:
        """Tell a run that is going on one of ``tell``, ``limits``, ``decide`` and ``judge`` (docs/run-format.md)."""
        self._request("POST", run_path(run_id, "/steer"), json=word)

    def cancel(self, run_id: str) -> None:
        """Stop a run and return when it has ended."""
        self._request("DELETE", run_path(run_id))

    def _greet(self) -> Info:
        said = self._request("GET", "/info", timeout=_GREET_SECONDS).json()
        return Info(said["version"], said["host"], Path(said["data_root"]))

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise silence(error) from error
        if response.is_error:
            raise refusal(response)
        return response

    @contextmanager
    def _stream(self, method: str, path: str, **options: Any) -> Opened:
        with self._opened(method, path, **options) as response:
            yield _batches(response, self._answers)

    @contextmanager
    def _opened(self, method: str, path: str, **options: Any) -> Iterator[httpx.Response]:
        try:
            with self._http.stream(method, path, **options) as response:
                if response.is_error:
                    response.read()
                    raise refusal(response)
                yield response
        except httpx.HTTPError as error:
            raise lost(error) from error


def _batches(response: httpx.Response, answers: dict[str, SentAnswer]) -> Iterator[list[Event]]:
    for line in response.iter_lines():
        yield read_batch(line, answers)
