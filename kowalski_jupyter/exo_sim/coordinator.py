"""The process that is the cluster: it holds the state, starts the nodes' processes, and takes orders.

`python -m kowalski_jupyter.exo_sim.coordinator FD` is how `Simulation` starts it: the plan comes first over the
inherited socket, then orders; it ends when the socket closes. `jupyter kowalski sim` has one in its own process.

Its control URL takes ``GET /_sim``, ``GET /_sim/requests``, and ``POST /_sim/inject`` and ``/_sim/place`` with JSON:
``{"fault": "kill_node", "node": 1}``, ``{"model": "…", "nodes": 1}``.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from kowalski_jupyter.exo_sim.api import Api
from kowalski_jupyter.exo_sim.chat import Chat
from kowalski_jupyter.exo_sim.cluster import Cluster, Member
from kowalski_jupyter.exo_sim.faults import FaultError, Faults, inject
from kowalski_jupyter.exo_sim.http import Exchange, Request, Server, send_json
from kowalski_jupyter.exo_sim.nodes import Node, NodeError, listen_on, listen_on_all
from kowalski_jupyter.exo_sim.placement import Place, PlacementError, choose, instance
from kowalski_jupyter.exo_sim.plan import Device, Model, Plan
from kowalski_jupyter.exo_sim.replies import Replies
from kowalski_jupyter.exo_sim.shapes import encode
from kowalski_jupyter.exo_sim.wire import Link

LONG_AGO = -1e9
"""When those joined that are there from the beginning."""

GIGA = 1_000_000_000
PHANTOM = 1000
"""The index of the first node without a process."""


class Coordinator:
    """A whole simulation. `ask` sends a request to whoever makes replies, if the plan says so."""

    def __init__(self, plan: Plan, ask: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
        fillers = (
            Model(f"mlx-community/Filler-{n}B-4bit", n * GIGA, downloaded=False) for n in range(1, plan.catalogue + 1)
        )
        self.plan = replace(plan, models=(*plan.models, *fillers))
        self.replies = Replies(self.plan, ask)
        self.cluster = Cluster(self.plan, self.replies)
        self.chat = Chat(self.cluster)
        self.faults = Faults(self)
        self.nodes: list[Node] = []
        self.port = plan.port
        self.control = ""
        self._api: Api | None = None
        self._control = Server(self._asked)
        self._doing: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start all nodes.

        Raises:
            NodeError: an address cannot be had.
        """
        addresses = [self._address(index) for index in range(len(self.plan.nodes))]
        listening = listen_on_all(addresses, self.plan.port)
        self.port = listening[0].getsockname()[1]
        self._api = Api(self.cluster, self.chat, self.port)
        for device in self.plan.nodes:
            self.cluster.join(self._make_node(device, LONG_AGO).member, pause=False)
        await asyncio.gather(*(node.start(each) for node, each in zip(self.nodes, listening, strict=True)))
        for number in range(self.plan.phantoms):
            index = PHANTOM + number
            address = f"127.0.{1 + number // 250}.{1 + number % 250}"
            self.cluster.join(Member(index, address, Device(name=f"phantom-{number + 1}"), LONG_AGO), pause=False)
        control = listen_on("127.0.0.1", self.plan.control_port)
        await self._control.listen(control)
        self.control = f"http://127.0.0.1:{control.getsockname()[1]}/_sim"

    def _address(self, index: int) -> str:
        return f"127.0.0.{self.plan.first + index}"

    def _make_node(self, device: Device, joined: float) -> Node:
        index = len(self.nodes)
        named = replace(device, name=device.name or f"exo-node-{index + 1}")
        member = Member(index, self._address(index), named, joined, slow=named.slow)
        node = Node(index, member.address, self.port, member, self._handle)
        self.nodes.append(node)
        return node

    def _handle(self, request: Request, exchange: Exchange, member: Member) -> None:
        if self._api is not None:
            self._api.handle(request, exchange, member)

    async def add_node(self, device: Device) -> int:
        """Start one more node; return its index."""
        node = self._make_node(device, self.cluster.clock.now())
        await self._start(node)
        return node.index

    async def restart(self, node: Node) -> None:
        """Start a node again, under a new id, as exo does."""
        old = node.member
        node.member = Member(node.index, node.address, old.device, self.cluster.clock.now(), slow=old.device.slow)
        await self._start(node)

    async def _start(self, node: Node) -> None:
        await node.start()
        node.member.joined = self.cluster.clock.now()
        self.cluster.join(node.member)

    async def place(self, model: str, nodes: int = 1, on: list[int] | None = None, wait: bool = True) -> str:
        """Place a model, whatever the master would choose; return the instance's id, once it is ready.

        Raises:
            FaultError: it cannot be placed; says why.
        """
        card = self.cluster.models.get(model)
        if card is None:
            raise FaultError(f"There is no model {model!r}. There are: {', '.join(self.cluster.models)}.")
        places = self._only(on)
        try:
            chosen = choose(places, card, min_nodes=len(on) if on else nodes)
        except PlacementError as error:
            raise FaultError(f"{model} cannot be placed: {error}.") from None
        made = self.cluster.create(card, instance(card, chosen))
        if made is None:
            raise FaultError(f"{model} cannot be placed: a node has just gone.")
        if wait:
            await made.settled.wait()
            if not made.ready.is_set():
                raise FaultError(f"{model} was deleted before it was ready.")
        return made.id

    def _only(self, on: list[int] | None) -> list[Place]:
        if not on:
            return self.cluster.places()
        ids = [member.id for member in self.cluster.members.values() if member.index in on and not member.silent_since]
        return self.cluster.places(ids) if ids else []

    def tell(self) -> dict[str, Any]:
        """Return what there is."""
        master = self.cluster.master
        return {
            "urls": [f"http://{node.address}:{self.port}" for node in self.nodes],
            "control": self.control,
            "node_ids": [node.member.id for node in self.nodes],
            "up": [node.up for node in self.nodes],
            "pids": [node.process.pid if node.process else None for node in self.nodes],
            "master": master.index if master else None,
            "session": self.cluster.session,
            "instances": {key: self._instance(key) for key in self.cluster.instances},
        }

    def _instance(self, key: str) -> dict[str, Any]:
        found = self.cluster.instances[key]
        return {
            "model": found.model.id,
            "nodes": [member.index for member in found.members],
            "ready": found.ready.is_set(),
            "active": len(found.active),
            "queued": len(found.queue),
            "placed_at": found.placed_at,
            "ready_at": found.ready_at,
        }

    async def do(self, order: str, settings: Any) -> Any:
        """Carry out an order of whoever runs the simulation.

        Raises:
            FaultError: in one line, what is wrong with it.
        """
        if not isinstance(settings, dict):
            raise FaultError('Give the settings as a JSON object, such as {"fault": "kill_node", "node": 1}.')
        match order:
            case "tell":
                return self.tell()
            case "requests":
                return [asdict(record) for record in self.chat.records[settings.get("since", 0) :]]
            case "inject":
                return await inject(self.faults, str(settings.pop("fault", "")), settings)
            case "place":
                try:
                    return await self.place(**settings)
                except TypeError as error:
                    raise FaultError(f"place: {str(error).rpartition('.')[2]}") from None
        raise FaultError(f"There is no order {order!r}. There are: tell, requests, inject, place.")

    def _asked(self, request: Request, exchange: Exchange) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(request, exchange))
        self._doing.add(task)
        task.add_done_callback(self._doing.discard)

    async def _answer(self, request: Request, exchange: Exchange) -> None:
        order = request.target.removeprefix("/_sim").strip("/") or "tell"
        try:
            settings = json.loads(request.body or b"{}")
            done = await self.do(order, settings)
        except (ValueError, FaultError, NodeError) as error:
            send_json(exchange, encode({"error": str(error)}), 400)
        else:
            send_json(exchange, encode(done))

    async def stop(self) -> None:
        """End all processes."""
        for task in list(self._doing):
            task.cancel()
        self.chat.end()
        if self._api is not None:
            self._api.end()
        self.cluster.end()
        for node in self.nodes:
            node.kill()
        self._control.close()
        await self.replies.close()


async def _serve(end: socket.socket) -> None:
    """Take the plan and then orders, over the link to the process that began this."""
    over = asyncio.Event()
    orders: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    link = await Link.over(end, lambda head, _: orders.put_nowait(head), over.set)
    first = await orders.get()
    coordinator = Coordinator(Plan.from_json(first["plan"]), link.send)
    tasks: set[asyncio.Task[None]] = set()

    async def carry_out(told: dict[str, Any]) -> None:
        try:
            done = await coordinator.do(told["op"], told["settings"])
        except Exception as error:  # noqa: BLE001 (whoever gave the order waits for an answer)
            said = str(error) if isinstance(error, FaultError | NodeError) else repr(error)
            link.send({"op": "failed", "id": told["id"], "error": said})
        else:
            link.send({"op": "done", "id": told["id"], "result": done})

    async def read() -> None:
        while True:
            told = await orders.get()
            if told["op"] == "reply":
                coordinator.replies.answered(told["id"], told["reply"])
                continue
            task = asyncio.get_running_loop().create_task(carry_out(told))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    reading = asyncio.get_running_loop().create_task(read())
    try:
        await coordinator.start()
        link.send({"op": "done", "id": 0, "result": coordinator.tell()})
        await over.wait()
    except NodeError as error:
        link.send({"op": "failed", "id": 0, "error": str(error)})
    finally:
        for task in (reading, *tasks):
            task.cancel()
        await coordinator.stop()
        link.close()


def main() -> None:
    """Run one coordinator; see the module."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl+C is for the process that began this, which then closes the link
    asyncio.run(_serve(socket.socket(fileno=int(sys.argv[1]))))


if __name__ == "__main__":
    main()
