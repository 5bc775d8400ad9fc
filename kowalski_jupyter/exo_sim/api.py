"""exo's HTTP API, as every node of the cluster serves it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from kowalski_jupyter.exo_sim import placement, shapes
from kowalski_jupyter.exo_sim.chat import Chat, read_json, send_error
from kowalski_jupyter.exo_sim.cluster import Cluster, Member
from kowalski_jupyter.exo_sim.http import Exchange, Request, send_crash, send_json
from kowalski_jupyter.exo_sim.plan import Model
from kowalski_jupyter.exo_sim.shapes import encode
from kowalski_jupyter.exo_sim.state import State

_OFFLINE = (
    "Failed to load model card: Cannot connect to host huggingface.co:443 ssl:default "
    "[Temporary failure in name resolution]"
)


class Api:
    """Routes the requests of all nodes."""

    def __init__(self, cluster: Cluster, chat: Chat, port: int) -> None:
        self._cluster = cluster
        self._chat = chat
        self._state = State(cluster, port)
        self._later: set[asyncio.Task[None]] = set()

    def handle(self, request: Request, exchange: Exchange, member: Member) -> None:
        """Answer one request that came to a member's node."""
        url = urlsplit(request.target)
        query = parse_qs(url.query)
        keys = [unquote(key) for key in url.path.split("/")[1:]]
        match request.method, keys:
            case "POST", _:
                self._post(keys, request, exchange, member)
            case "GET", _:
                self._get(keys, query, exchange, member)
            case "DELETE", ["instance", instance_id]:
                self._unplace(exchange, instance_id)
            case _:
                _nowhere(exchange, request.method)

    def _post(self, keys: list[str], request: Request, exchange: Exchange, member: Member) -> None:
        match keys:
            case ["place_instance"]:
                self._place(request, exchange)
            case ["instance"]:
                self._create(request, exchange)
            case ["v1", "chat", "completions"]:
                self._chat.complete(request, exchange, member.index)
            case ["v1", "cancel", command_id]:
                self._command(lambda: self._chat.cancel(command_id, exchange, member.index))
            case ["download", "start"]:
                self._download(request, exchange)
            case _:
                _nowhere(exchange, "POST")

    def _get(self, keys: list[str], query: dict[str, list[str]], exchange: Exchange, member: Member) -> None:
        match keys:
            case ["node_id"]:
                send_json(exchange, encode(member.id))
            case ["state"]:
                send_json(exchange, encode(self._state.whole()))
            case ["state", *path] if all(path):
                self._part(exchange, path)
            case ["models"] | ["v1", "models"]:
                self._models(exchange, query)
            case ["v1", "feature-flags"]:
                send_json(exchange, encode({"disaggregation": False}))
            case ["v1", "instance-links"]:
                send_json(exchange, b"[]")
            case ["instance", "previews"]:
                self._previews(exchange, query)
            case ["instance", "placement"]:
                self._placement(exchange, query)
            case ["instance", instance_id]:
                self._instance(exchange, instance_id)
            case _:
                _nowhere(exchange, "GET")

    def _part(self, exchange: Exchange, keys: list[str]) -> None:
        try:
            found = self._state.part(keys)
        except LookupError:
            send_error(exchange, 404, f"unable to find path '{'.'.join(keys)}' in state json")
        else:
            send_json(exchange, encode(found))

    def _models(self, exchange: Exchange, query: dict[str, list[str]]) -> None:
        models = list(self._cluster.models.values())
        if query.get("status") == ["downloaded"]:
            members = self._cluster.members.values()
            models = [model for model in models if any(self._cluster.downloads.has(m, model) for m in members)]
        send_json(exchange, encode({"object": "list", "data": [shapes.catalogue_entry(model) for model in models]}))

    def _wanted(self, exchange: Exchange, query: dict[str, list[str]]) -> Model | None:
        if "model_id" not in query:
            missing = {"type": "missing", "loc": ["query", "model_id"], "msg": "Field required", "input": None}
            send_json(exchange, encode({"detail": [missing]}), 422)
            return None
        model = self._cluster.models.get(query["model_id"][0])
        if model is None:
            self._after_looking(lambda: send_error(exchange, 400, _OFFLINE))
        return model

    def _previews(self, exchange: Exchange, query: dict[str, list[str]]) -> None:
        model = self._wanted(exchange, query)
        if model is not None:
            found = placement.previews(self._cluster.places(query.get("node_ids")), model)
            send_json(exchange, encode({"previews": found}))

    def _placement(self, exchange: Exchange, query: dict[str, list[str]]) -> None:
        model = self._wanted(exchange, query)
        if model is None:
            return
        sharding = query.get("sharding", ["Pipeline"])[0]
        meta = query.get("instance_meta", ["MlxRing"])[0]
        count = query.get("min_nodes", ["1"])[0]
        try:
            chosen = placement.choose(
                self._cluster.places(), model, sharding, meta, int(count) if count.isdigit() else 1
            )
        except placement.PlacementError as error:
            send_error(exchange, 400, str(error))
        else:
            send_json(exchange, encode(placement.instance(model, chosen, sharding)))

    def _instance(self, exchange: Exchange, instance_id: str) -> None:
        found = self._cluster.instances.get(instance_id)
        if found is None:
            send_error(exchange, 404, "Instance not found")
        else:
            send_json(exchange, encode(found.body))

    def _unplace(self, exchange: Exchange, instance_id: str) -> None:
        if instance_id in self._cluster.instances:
            self._command(lambda: self._delete(exchange, instance_id))
        else:
            send_error(exchange, 404, "Instance not found")

    def _delete(self, exchange: Exchange, instance_id: str) -> None:
        send_json(exchange, encode(_received() | {"instance_id": instance_id}))
        if instance_id in self._cluster.instances:
            self._cluster.delete(instance_id)

    def _place(self, request: Request, exchange: Exchange) -> None:
        payload, problem = read_json(request, ("model_id",))
        if problem is not None:
            send_json(exchange, encode({"detail": [problem]}), 422)
            return
        model = self._cluster.models.get(str(payload["model_id"]))
        if model is None:
            self._after_looking(lambda: send_crash(exchange))
            return
        how = (
            payload.get("sharding", "Pipeline"),
            payload.get("instance_meta", "MlxRing"),
            payload.get("min_nodes", 1),
        )
        self._command(lambda: self._placed(exchange, model, lambda: self._cluster.place(model, *how)))

    def _create(self, request: Request, exchange: Exchange) -> None:
        payload, problem = read_json(request, ("instance",))
        if problem is not None:
            send_json(exchange, encode({"detail": [problem]}), 422)
            return
        body = payload["instance"]
        try:
            model = self._cluster.models[next(iter(body.values()))["shardAssignments"]["modelId"]]
        except (LookupError, AttributeError, TypeError, StopIteration):
            problem = {"type": "missing", "loc": ["body", "instance"], "msg": "Field required", "input": body}
            send_json(exchange, encode({"detail": [problem]}), 422)
            return
        if sum(place.available for place in self._cluster.places()) < model.size:
            send_error(exchange, 400, "Insufficient memory to create instance")
            return
        self._command(lambda: self._placed(exchange, model, lambda: self._cluster.create(model, body)))

    def _placed(self, exchange: Exchange, model: Model, do: Callable[[], object]) -> None:
        send_json(exchange, encode(_received() | {"model_card": shapes.card(model)}))
        if self._cluster.refuse_placements > 0:
            self._cluster.refuse_placements -= 1
        else:
            do()

    def _download(self, request: Request, exchange: Exchange) -> None:
        payload, problem = read_json(request, ("target_node_id", "shard_metadata"))
        if problem is not None:
            send_json(exchange, encode({"detail": [problem]}), 422)
            return
        member = self._cluster.members.get(str(payload["target_node_id"]))
        shard = payload["shard_metadata"]
        inner = next(iter(shard.values()), None) if isinstance(shard, dict) else None
        told = inner.get("modelCard") or inner.get("model_card") if isinstance(inner, dict) else None
        name = (told.get("modelId") or told.get("model_id")) if isinstance(told, dict) else None
        model = self._cluster.models.get(str(name))
        self._command(lambda: send_json(exchange, encode({"commandId": str(uuid.uuid4())})))
        if member is not None and model is not None:
            self._cluster.downloads.start(member, model)

    def _command(self, do: Callable[[], None]) -> None:
        """Do what goes through the master: not while a campaign is on."""
        if not self._cluster.campaigning:
            do()
            return

        async def wait() -> None:
            await self._cluster.released()
            do()

        self._keep(asyncio.get_running_loop().create_task(wait()))

    def _after_looking(self, do: Callable[[], None]) -> None:
        """Do it after exo has tried to find a model's card elsewhere, and failed."""

        async def wait() -> None:
            await self._cluster.clock.sleep(self._cluster.plan.timings.unknown_model)
            do()

        self._keep(asyncio.get_running_loop().create_task(wait()))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    def end(self) -> None:
        """Wait for nothing any more."""
        for task in list(self._later):
            task.cancel()


def _nowhere(exchange: Exchange, method: str) -> None:
    """Answer as the files of exo's dashboard do, which are what every other path is."""
    if method in ("GET", "HEAD"):
        send_json(exchange, encode({"detail": "Not Found"}), 404)
    else:
        send_json(exchange, encode({"detail": "Method Not Allowed"}), 405, [("allow", "GET, HEAD")])


def _received() -> dict[str, Any]:
    return {"message": "Command received.", "command_id": str(uuid.uuid4())}
