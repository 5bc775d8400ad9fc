"""The part of the API that is about devices and the models on them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from tornado.iostream import StreamClosedError

from kowalski_jupyter.cluster.cluster import Cluster
from kowalski_jupyter.cluster.placement import Spread
from kowalski_jupyter.models.base import ModelError
from kowalski_jupyter.service.devices import devices_document, instance_document, model_document
from kowalski_jupyter.service.request import BadRequestError
from kowalski_jupyter.service.socket.handler import Handler

_SPREADS: Final[dict[str, Spread]] = {"auto": "auto", "pipeline": "pipeline", "tensor": "tensor"}


class _Devices(Handler):
    """All devices, as they are now, and where the last requests went and why."""

    async def get(self) -> None:
        snapshot = await self.service.cluster.look()
        self.finish({**devices_document(snapshot), "decisions": self.service.router.dispatcher.decisions.documents()})


class _Models(Handler):
    """All models that there are."""

    async def get(self) -> None:
        self.finish({"models": [model_document(each) for each in await self.service.known_models()]})


class _Load(Handler):
    """Have a model loaded: a line for each step, then one with the instance or the error.

    Who goes away follows it no more; exo goes on.
    """

    following: asyncio.Task[None] | None = None

    async def post(self) -> None:
        self.following = asyncio.current_task()
        body = self.body()
        model, spread, nodes = _wanted(body if isinstance(body, dict) else {})
        self.set_header("Content-Type", "application/x-ndjson")
        try:
            async with aclosing(_loading(self.service.cluster, model, spread, nodes)) as lines:
                async for line in lines:
                    self.write(json.dumps(line) + "\n")
                    await self.flush()
        except StreamClosedError:
            return

    def on_connection_close(self) -> None:
        if self.following is not None:
            self.following.cancel()


class _Unload(Handler):
    """Have a model unloaded."""

    async def post(self) -> None:
        body = self.body()
        model, _, _ = _wanted(body if isinstance(body, dict) else {})
        self.finish({"unloaded": len(await self.service.cluster.models.unload(model))})


def _wanted(body: dict[str, Any]) -> tuple[str, Spread, int]:
    """Read what is to be loaded, and how."""
    model, nodes = body.get("model"), body.get("min_nodes", 1)
    spread = _SPREADS.get(str(body.get("sharding", "auto")))
    if not isinstance(model, str) or not model.strip():
        raise BadRequestError("Say which model: `%rlm models` lists them.")
    if spread is None:
        raise BadRequestError(f"A model is spread by one of {', '.join(_SPREADS)}.")
    if isinstance(nodes, bool) or not isinstance(nodes, int) or nodes < 1:
        raise BadRequestError("The number of devices is a whole number from 1 up.")
    return model.strip(), spread, nodes


async def _loading(cluster: Cluster, model: str, spread: Spread, nodes: int) -> AsyncGenerator[dict[str, Any], None]:
    """Load a model, and give what is to be told on the way and at the end."""
    told: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    def report(text: str, done: int | None, total: int | None) -> None:
        told.put_nowait({"text": text, "done": done, "total": total})

    task = asyncio.create_task(cluster.models.load(model, report, spread=spread, min_nodes=nodes))
    task.add_done_callback(lambda _: told.put_nowait(None))
    try:
        while (line := await told.get()) is not None:
            yield line
        yield {"instance": instance_document(await task, cluster.snapshot.devices)}
    except ModelError as error:
        yield {"error": str(error)}
    finally:
        task.cancel()


HANDLERS: Final[list[tuple[str, type[Handler]]]] = [
    ("/devices", _Devices),
    ("/models", _Models),
    ("/models/load", _Load),
    ("/models/unload", _Unload),
]
