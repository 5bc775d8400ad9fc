"""What a simulation remembers of each chat completion it was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Record:
    """One chat completion. Times are `time.time()` of the coordinator, in real seconds.

    `node` is the index of the node it came to, `instance` the id of the one that the master chose, `served_by` the
    indexes of that instance's nodes. `started` is when it came, `began` when a slot took it, `ended` when the client's
    answer was over. `outcome` says how it ended: ``finished``, ``error`` (an error in the stream, or an empty answer
    for those not streamed), ``cut`` (a clean end without a finish reason), ``empty``, ``partial``, ``refused`` (an HTTP
    error status, in `status`), ``cancelled`` (by ``/v1/cancel``), ``disconnected`` (the client went away),
    ``node-killed``; None while it goes on. `zombie` is since when no token can come any more, though it is open.
    `text` is what the client was sent of the reply.
    """

    id: str
    node: int
    model: str
    messages: list[Any]
    stream: bool
    parameters: dict[str, Any]
    started: float
    instance: str | None = None
    served_by: list[int] = field(default_factory=list)
    began: float | None = None
    ended: float | None = None
    outcome: str | None = None
    status: int = 200
    tokens: int = 0
    text: str = ""
    zombie: float | None = None
    fault: str | None = None
