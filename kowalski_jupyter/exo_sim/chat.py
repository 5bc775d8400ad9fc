"""`POST /v1/chat/completions` and `/v1/cancel/{id}`, as far as the node that was asked goes."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

from kowalski_jupyter.exo_sim.answer import Answer
from kowalski_jupyter.exo_sim.cluster import Cluster
from kowalski_jupyter.exo_sim.http import Exchange, Request, send_json
from kowalski_jupyter.exo_sim.job import Job
from kowalski_jupyter.exo_sim.records import Record
from kowalski_jupyter.exo_sim.shapes import encode


class Chat:
    """Takes chat completions for all nodes, and keeps a record of each."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.records: list[Record] = []
        self.jobs: dict[str, Job] = {}
        self._waiting: set[asyncio.Task[None]] = set()

    def complete(self, request: Request, exchange: Exchange, node: int) -> None:
        """Answer one request."""
        payload, problem = read_json(request, ("model", "messages"))
        if problem is None and not isinstance(payload["messages"], list):
            problem = _invalid("list_type", ["body", "messages"], "Input should be a valid list", payload["messages"])
        if problem is not None:
            send_json(exchange, encode({"detail": [problem]}), 422)
            return
        left_out = ("model", "messages", "stream")
        record = Record(
            id=str(uuid.uuid4()),
            node=node,
            model=str(payload["model"]),
            messages=payload["messages"],
            stream=bool(payload.get("stream")),
            parameters={key: value for key, value in payload.items() if key not in left_out},
            started=time.time(),
        )
        self.records.append(record)
        if not any(each.model.id == record.model for each in self._cluster.instances.values()):
            record.outcome, record.status, record.ended = "refused", 404, time.time()
            send_error(exchange, 404, f"No instance found for model {record.model}")
            return
        exchange.on_gone = lambda: self._left(record)
        self._after_campaign(lambda same: self._begin(record, payload, exchange, same))

    def _begin(self, record: Record, payload: dict[str, Any], exchange: Exchange, same_session: bool) -> None:
        if record.outcome is not None:
            return  # the client did not wait for the campaign's end
        keep_alive = self._cluster.plan.timings.keep_alive / self._cluster.clock.speed
        answer = Answer(exchange, record, keep_alive, lambda: self.jobs.pop(record.id, None))
        job = Job(record, payload, answer, asyncio.get_running_loop().time())
        self.jobs[record.id] = job
        if same_session:
            self._cluster.submit(job)
        else:
            answer.zombify()

    def _after_campaign(self, then: Callable[[bool], None]) -> None:
        if self._cluster.campaigning:
            task = asyncio.get_running_loop().create_task(self._wait(then))
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)
        else:
            then(True)

    async def _wait(self, then: Callable[[bool], None]) -> None:
        then(await self._cluster.released())

    def _left(self, record: Record, outcome: str = "disconnected") -> None:
        """Note that a client has closed its connection, or has lost it."""
        job = self.jobs.get(record.id)
        if job is None:
            if record.outcome is None:
                record.outcome, record.ended = outcome, time.time()
            return
        job.answer.gone(outcome)
        self._cluster.forget(job)

    def cancel(self, command_id: str, exchange: Exchange, node: int) -> None:
        """Close a stream of this node's. Its runner goes on: exo forgets to tell it."""
        job = self.jobs.get(command_id)
        if job is None or job.record.node != node:
            send_error(exchange, 404, "Command not found or already completed")
            return
        job.answer.empty("cancelled")
        send_json(exchange, encode({"message": "Command cancelled.", "command_id": command_id}))

    def of_node(self, node: int) -> list[Job]:
        """Return the requests whose answers go through a node and are not over."""
        return [job for job in self.jobs.values() if job.record.node == node]

    def node_killed(self, node: int) -> None:
        """Note that the connections of a node's clients are gone with it."""
        for job in self.of_node(node):
            self._left(job.record, "node-killed")

    def end(self) -> None:
        """Wait for nothing any more."""
        for task in list(self._waiting):
            task.cancel()


def read_json(request: Request, needed: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return a request's body, and what is wrong with it in the words of FastAPI."""
    text = request.body.decode("utf-8", "replace")
    shape = "Input should be a valid dictionary or object to extract fields from"
    if "json" not in request.content_type:
        return {}, _invalid("model_attributes_type", ["body"], shape, text)
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        return {}, _invalid("json_invalid", ["body", error.pos], "JSON decode error", {}) | {
            "ctx": {"error": error.msg}
        }
    if not isinstance(found, dict):
        return {}, _invalid("model_attributes_type", ["body"], shape, found)
    for name in needed:
        if name not in found:
            return found, _invalid("missing", ["body", name], "Field required", found)
    return found, None


def _invalid(kind: str, where: list[Any], message: str, given: object) -> dict[str, Any]:
    return {"type": kind, "loc": where, "msg": message, "input": given}


PHRASES = {400: "Bad Request", 404: "Not Found", 500: "Internal Server Error"}


def send_error(exchange: Exchange, status: int, message: str) -> None:
    """Answer with an error of exo's own."""
    body = {"message": message, "type": PHRASES[status], "param": None, "code": status}
    send_json(exchange, encode({"error": body}), status)
