"""What the service and its blocking and asynchronous clients have in common."""

from __future__ import annotations

import base64
import json
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from kowalski_jupyter.kernels.base import Value
from kowalski_jupyter.kernels.values import decode_answer
from kowalski_jupyter.rlm.events import Event, from_json

CONNECT_SECONDS = 1.0
"""A socket that nobody listens on refuses at once; more than this is a machine in trouble."""


class ServiceError(Exception):
    """The service refused, or is gone. The message is for the user."""


class ServiceGoneError(ServiceError):
    """The service does not answer, or no longer."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a service listens, and the token that it wants."""

    socket: str
    token: str

    def client_options(self) -> dict[str, Any]:
        """Return what both kinds of HTTP client need, but for the transport."""
        return {
            "base_url": "http://kowalski",
            "headers": {"Authorization": f"Bearer {self.token}"},
            "timeout": httpx.Timeout(None, connect=CONNECT_SECONDS),
        }


UNLIMITED = httpx.Limits(max_connections=None, max_keepalive_connections=4)
"""Each run that is followed holds a connection; how many there are is the user's affair."""


SMALL_ANSWER = 64 << 10
"""Bytes of an answer that are sent with a run's last event, so that nobody has to ask for them."""

_ANSWER = "answer_value"


@dataclass(frozen=True, slots=True)
class SentAnswer:
    """An answer as data: how it is encoded, and the bytes."""

    kind: str
    data: bytes

    def value(self) -> Any:
        """Return the live value.

        Raises:
            ServiceError: it cannot be read here.
        """
        try:
            return decode_answer(self.kind, self.data)
        except ValueError as error:
            raise ServiceError(str(error)) from error


def answer_line(run_id: str, answer: Value) -> str:
    """Return the line by which an answer is sent after a run's last event."""
    data = base64.b64encode(answer.data).decode()
    return json.dumps({"type": _ANSWER, "run": run_id, "kind": answer.kind, "data": data}) + "\n"


class Batches:
    """Puts the lines of a stream of events together to the batches that the service sent.

    Args:
        answers: takes the answers that come with them, by run.
    """

    def __init__(self, answers: MutableMapping[str, SentAnswer]) -> None:
        self._answers = answers
        self._batch: list[Event] = []

    def feed(self, line: str) -> list[Event]:
        """Take a line; return the batch that it ends, or an empty list."""
        if line:
            said = json.loads(line)
            if said["type"] == _ANSWER:
                self._answers[said["run"]] = SentAnswer(said["kind"], base64.b64decode(said["data"]))
            elif (event := from_json(said)) is not None:
                self._batch.append(event)
            return []
        batch, self._batch = self._batch, []
        return batch


def read_answer(response: httpx.Response) -> SentAnswer:
    """Return the answer that was asked for."""
    return SentAnswer(response.headers["X-Kowalski-Kind"], response.content)


def refusal(response: httpx.Response) -> ServiceError:
    """Return the error that the service answered with."""
    try:
        return ServiceError(str(response.json()["error"]))
    except (ValueError, KeyError, TypeError):
        return ServiceError(f"The kowalski service answered {response.status_code}.")


def silence(error: httpx.HTTPError) -> ServiceError:
    """Return the error of a service that does not answer."""
    return ServiceGoneError(f"The kowalski service does not answer ({error}).")


def lost(error: httpx.HTTPError) -> ServiceError:
    """Return the error of a service that went away in the middle of a run."""
    return ServiceGoneError(f"The kowalski service went away during the run ({error}). Start it again and run again.")


@dataclass(frozen=True, slots=True)
class Info:
    """What a service says of itself."""

    version: str
    host: str
    data_root: Path
