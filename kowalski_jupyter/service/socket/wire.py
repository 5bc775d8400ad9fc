"""What the service and its blocking and asynchronous clients have in common."""

from __future__ import annotations

import base64
import json
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

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


_SMALL_ANSWER = 64 << 10
"""Bytes of an answer that are sent with a run's last event, so that nobody has to ask for them."""


def run_path(run_id: str, what: str = "") -> str:
    """Return the path of a run, or of `what` of it: whatever the user took for an id stays one part of it."""
    part = quote(run_id, safe="", errors="replace").replace(".", "%2E")  # or `..` would be the folder above
    return f"/runs/{part}{what}"


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


def batch_line(run_id: str, events: Sequence[Event], answer: Value | None) -> str:
    """Return the line by which events are sent, with the run's answer, if there is one and it is small."""
    said: dict[str, Any] = {"events": [event.to_json() for event in events]}
    if answer is not None and len(answer.data) <= _SMALL_ANSWER:
        said["answer"] = {"run": run_id, "kind": answer.kind, "data": base64.b64encode(answer.data).decode()}
    return json.dumps(said) + "\n"


def read_batch(line: str, answers: MutableMapping[str, SentAnswer]) -> list[Event]:
    """Return the events of a line of a stream; `answers` takes the answer that comes with them, by run."""
    said = json.loads(line)
    if answer := said.get("answer"):
        answers[answer["run"]] = SentAnswer(answer["kind"], base64.b64decode(answer["data"]))
    return [event for event in map(from_json, said["events"]) if event is not None]


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
