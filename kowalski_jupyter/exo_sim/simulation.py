"""The Python face: a simulation as a context manager, whose processes are gone at its end."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import re
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self

from kowalski_jupyter.exo_sim.plan import Device, Forward, Model, Plan, Reply, Rule, Timings
from kowalski_jupyter.exo_sim.records import Record
from kowalski_jupyter.exo_sim.wire import Link


class SimulationError(Exception):
    """The simulation cannot do what it was told; says what is wrong in one line."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that a reply is wanted for. `payload` is the whole body that the client sent."""

    id: str
    model: str
    messages: list[Any]
    payload: dict[str, Any]


Answering = Callable[[Asked], "Reply | str | Awaitable[Reply | str]"]
Replying = str | Reply | Rule | Iterable[Rule] | Forward | Answering


class Simulation:
    """A simulated exo cluster; see the package. Its coordinator and its nodes are processes of their own."""

    def __init__(
        self,
        nodes: int | Iterable[Device] = 3,
        *,
        models: Mapping[str, Model | None] | Iterable[str | Model] = ("mlx-community/Test-1B-4bit",),
        replies: Replying = Rule(echo=True),  # noqa: B008 (it is frozen)
        speed: float = 50.0,
        phantom_nodes: int = 0,
        catalogue: int = 0,
        slots: int = 8,
        first: int = 1,
        port: int = 0,
        timings: Timings | None = None,
    ) -> None:
        listed = models.items() if isinstance(models, Mapping) else ((m, None) for m in models)
        self._answering = replies if callable(replies) else None
        self._plan = Plan(
            nodes=tuple(Device() for _ in range(nodes)) if isinstance(nodes, int) else tuple(nodes),
            models=tuple(_model(name, given) for name, given in listed),
            speed=speed,
            port=port,
            first=first,
            slots=slots,
            phantoms=phantom_nodes,
            catalogue=catalogue,
            rules=_rules(replies),
            forward=replies if isinstance(replies, Forward) else None,
            ask=self._answering is not None,
            timings=timings or Timings(),
        )
        for rule in self._plan.rules:
            re.compile(rule.pattern)  # here rather than where its error would be far from its cause
        self.urls: list[str] = []
        self.node_ids: list[str] = []
        self.control_url = ""
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._link: Link | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        ours, theirs = socket.socketpair()
        with theirs:
            words = [sys.executable, "-m", "kowalski_jupyter.exo_sim.coordinator", str(theirs.fileno())]
            self._process = subprocess.Popen(  # noqa: ASYNC220 (it takes a millisecond)
                words, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, start_new_session=True
            )
        self._link = await Link.over(ours, self._told, self._lost)
        began = self._waiting[0] = asyncio.get_running_loop().create_future()
        self._link.send({"op": "plan", "plan": self._plan.to_json()})
        try:
            self._take(await began)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    @property
    def url(self) -> str:
        """Return the first node's."""
        return self.urls[0]

    async def place(self, model: str, *, nodes: int = 1, on: Iterable[int] | None = None, wait: bool = True) -> str:
        """Load a model, on so many nodes or on these; return the instance's id, with `wait` once it is ready.

        Each call makes one more replica, by default where most memory is left.

        Raises:
            SimulationError: it does not fit.
        """
        settings = {"model": model, "nodes": nodes, "on": list(on) if on is not None else None, "wait": wait}
        placed: str = await self._order("place", settings)
        return placed

    async def inject(self, fault: str, **settings: Any) -> Any:
        """Let something go wrong; see `kowalski_jupyter.exo_sim.faults` for what there is.

        Raises:
            SimulationError: there is no such fault, or it cannot happen now.
        """
        done = await self._order("inject", settings | {"fault": fault})
        if fault in ("add_node", "node_back"):
            self._take(await self._order("tell", {}))
        return done

    async def requests(self, since: int = 0) -> list[Record]:
        """Return all chat completions in the order they came, from number `since` on."""
        return [Record(**record) for record in await self._order("requests", {"since": since})]

    async def tell(self) -> dict[str, Any]:
        """Return how things are: ``urls, node_ids, up, pids, master, session, instances``; see `Coordinator.tell`."""
        told: dict[str, Any] = await self._order("tell", {})
        return told

    def _take(self, told: dict[str, Any]) -> None:
        self.urls, self.node_ids, self.control_url = told["urls"], told["node_ids"], told["control"]

    async def _order(self, order: str, settings: dict[str, Any]) -> Any:
        if self._link is None:
            raise SimulationError("The simulation is not running. Use it inside: async with Simulation() as sim.")
        number = next(self._numbers)
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._link.send({"op": order, "id": number, "settings": settings})
        return await waiting

    def _told(self, head: dict[str, Any], _: bytes) -> None:
        if head["op"] == "ask":
            task = asyncio.get_running_loop().create_task(self._answer(head))
            self._answers.add(task)
            task.add_done_callback(self._answers.discard)
            return
        waiting = self._waiting.pop(head["id"])
        if waiting.done():
            return
        if head["op"] == "done":
            waiting.set_result(head["result"])
        else:
            waiting.set_exception(SimulationError(head["error"]))

    async def _answer(self, head: dict[str, Any]) -> None:
        payload = head["payload"]
        answering = self._answering
        if answering is None or self._link is None:
            return
        try:
            said = answering(Asked(head["request"], payload["model"], payload["messages"], payload))
            reply = await said if inspect.isawaitable(said) else said
        except Exception as error:  # noqa: BLE001 (a test's own code; its error is what the client gets to read)
            reply = f"The replies of the simulation failed: {error!r}"
        whole = Reply(reply) if isinstance(reply, str) else reply
        if self._link is not None:
            self._link.send({"op": "reply", "id": head["id"], "reply": asdict(whole)})

    def _lost(self) -> None:
        self._link = None
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(SimulationError("The simulation's coordinator has ended."))
        self._waiting.clear()

    async def _stop(self) -> None:
        for task in list(self._answers):
            task.cancel()
        if self._link is not None:
            self._link.close()
        if self._process is not None:
            process, self._process = self._process, None
            try:
                await asyncio.to_thread(process.wait, 10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _model(name: str | Model, given: Model | None) -> Model:
    return name if isinstance(name, Model) else given or Model(name)


def _rules(replies: Replying) -> tuple[Rule, ...]:
    if isinstance(replies, str):
        return (Rule(text=replies.replace("\\", r"\\")),)
    if isinstance(replies, Reply):
        given = replies
        return (Rule("", given.text.replace("\\", r"\\"), False, given.delay, given.tokens_per_second),)
    if isinstance(replies, Rule):
        return (replies,)
    return () if isinstance(replies, Forward) or callable(replies) else tuple(replies)
