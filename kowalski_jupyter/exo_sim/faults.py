"""Everything that can go wrong, by name: the same for Python, the control URL and the terminal.

`node` is an index, from 0; for a fault of requests it is the node that is asked, None for any. Where `instance` is
None, the oldest one of the model, on the node, or of all is meant. Seconds are simulated ones. A dead replica that is
still chosen needs no fault of its own: it is what comes of `kill_node` where a model has several.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from kowalski_jupyter.exo_sim.instance import Instance
from kowalski_jupyter.exo_sim.job import RequestFault
from kowalski_jupyter.exo_sim.plan import GIB, Device
from kowalski_jupyter.exo_sim.speaking import KILLED

if TYPE_CHECKING:
    from kowalski_jupyter.exo_sim.coordinator import Coordinator
    from kowalski_jupyter.exo_sim.nodes import Node


class FaultError(Exception):
    """A fault that there is not, or that cannot happen now."""


class Faults:
    """Each public coroutine is a fault of that name, its arguments are the settings."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._cluster = coordinator.cluster

    # Nodes

    async def kill_node(self, node: int) -> None:
        """Kill a node's process; exo notices that after a while. If it is the master's, see `kill_master`."""
        machine = self._node(node)
        if not machine.up:
            raise FaultError(f"Node {node} is down already.")
        machine.kill()
        self._coordinator.chat.node_killed(node)
        self._cluster.lose(machine.member)

    async def kill_master(self) -> int:
        """Kill the master's process: an election, and all instances are gone. Returns which node it was."""
        if self._cluster.master is None:
            raise FaultError("There is no node left to be the master.")
        index = self._cluster.master.index
        await self.kill_node(index)
        return index

    async def stop_node(self, node: int) -> None:
        """Let a node end its streams properly, though without a finish reason, and go."""
        for job in self._coordinator.chat.of_node(node):
            job.answer.cut()
            self._cluster.forget(job)
        await self._node(node).flushed()
        await self.kill_node(node)

    async def node_back(self, node: int) -> None:
        """Start a node's process again; it gets a new id, and its old self stays for a while."""
        machine = self._node(node)
        if machine.up:
            raise FaultError(f"Node {node} is up.")
        await self._coordinator.restart(machine)

    async def add_node(self, name: str = "", available: int = 48 * GIB, memory: int = 64 * GIB) -> int:
        """Let one more node join; memory in bytes. Returns its index."""
        return await self._coordinator.add_node(Device(name=name, available=available, memory=memory))

    async def partition(self, node: int, seconds: float | None = None) -> None:
        """Let no byte in or out of a node, until `heal` or for so long. Its open streams are zombies then."""
        machine = self._node(node)
        machine.hold(on=True)
        for job in self._coordinator.chat.of_node(node):
            job.answer.zombify()
        self._cluster.lose(machine.member)
        if seconds is not None:
            self._cluster.clock.later(seconds, lambda: self._heal(machine))

    async def heal(self, node: int) -> None:
        """End a partition."""
        self._heal(self._node(node))

    async def refuse_connections(self, node: int) -> None:
        """Refuse new connections; those that are open stay."""
        self._node(node).refuse(on=True)

    async def accept_connections(self, node: int) -> None:
        """Take connections again."""
        self._node(node).refuse(on=False)

    async def slow_node(self, node: int, factor: float) -> None:
        """Let replies of a node's instances take so many times as long; 1 ends it."""
        self._node(node).member.slow = factor

    async def full_node(self, node: int, full: bool = True) -> None:
        """Leave a node no memory for a model."""
        self._node(node).member.full = full

    # The cluster

    async def election(self, master_changes: bool = False) -> None:
        """Hold all commands for the time of an election. If the master changes, all instances are gone after it."""
        if master_changes:
            self._cluster.new_master()
        else:
            self._cluster.hold()

    async def kill_runner(self, instance: str | None = None, model: str | None = None, node: int | None = None) -> str:
        """Kill an instance's runner: its requests fail, and the model is loaded again; the fifth time, it is not."""
        found = self._instance(instance, model, node)
        found.whole.clear()  # no token comes from now on
        await self._cluster.clock.sleep(self._cluster.plan.timings.runner_death)
        if found.id in self._cluster.instances:
            if all(member.silent_since is None for member in found.members):
                found.whole.set()
            found.crash(KILLED)
        return found.id

    async def delete_instance(
        self, instance: str | None = None, model: str | None = None, node: int | None = None
    ) -> str:
        """Delete an instance: its requests end without a word."""
        found = self._instance(instance, model, node)
        self._cluster.delete(found.id)
        return found.id

    async def refuse_placement(self, count: int = 1) -> None:
        """Answer the next placements as all others, and do nothing."""
        self._cluster.refuse_placements += count

    # Requests to come

    async def zombie_stream(
        self, count: int = 1, after: int = 0, node: int | None = None, model: str | None = None
    ) -> None:
        """Give requests nothing but keep-alives after so many tokens, for ever."""
        self._cluster.faults += [RequestFault("zombie_stream", after, node, model)] * count

    async def empty_200(
        self, count: int = 1, after: int = 0, node: int | None = None, model: str | None = None
    ) -> None:
        """Give requests status 200 and then end: a body without a byte, or a stream without a finish reason."""
        self._cluster.faults += [RequestFault("empty_200", after, node, model)] * count

    async def partial_json(
        self, count: int = 1, after: int = 1, node: int | None = None, model: str | None = None
    ) -> None:
        """Give requests so many tokens of their text, in a proper body or stream, and no finish reason."""
        self._cluster.faults += [RequestFault("partial_json", after, node, model)] * count

    async def error_chunk(
        self, count: int = 1, after: int = 0, node: int | None = None, model: str | None = None
    ) -> None:
        """Give requests an error in the stream after so many tokens; those not streamed get an empty 200."""
        self._cluster.faults += [RequestFault("error_chunk", after, node, model)] * count

    async def clear(self) -> None:
        """Forget the faults of requests and placements to come."""
        self._cluster.faults.clear()
        self._cluster.refuse_placements = 0

    def _node(self, index: int) -> Node:
        nodes = self._coordinator.nodes
        if not isinstance(index, int) or not 0 <= index < len(nodes):
            raise FaultError(f"There is no node {index}. There are 0 to {len(nodes) - 1}.")
        return nodes[index]

    def _instance(self, instance: str | None, model: str | None, node: int | None) -> Instance:
        for each in self._cluster.instances.values():
            on = [member.index for member in each.members]
            if instance in (None, each.id) and model in (None, each.model.id) and (node is None or node in on):
                return each
        raise FaultError("There is no such instance now.")

    def _heal(self, machine: Node) -> None:
        if machine.partitioned:
            machine.hold(on=False)
            self._cluster.regain(machine.member)


NAMES = tuple(name for name in vars(Faults) if not name.startswith("_"))


async def inject(faults: Faults, fault: str, settings: dict[str, Any]) -> Any:
    """Let a fault happen, by its name; return what it says.

    Raises:
        FaultError: in one line, what is wrong with what was asked for.
    """
    if fault not in NAMES:
        raise FaultError(f"There is no fault {fault!r}. There are: {', '.join(NAMES)}.")
    method = getattr(faults, fault)
    try:
        inspect.signature(method).bind(**settings)
    except TypeError as error:
        raise FaultError(f"{fault}: {error}. {usage(fault)}") from None
    return await method(**settings)


def usage(fault: str) -> str:
    """Return how a fault is written on a line, and what it does."""
    method = getattr(Faults, fault)
    parameters = list(inspect.signature(method).parameters.values())[1:]
    words = [name.name if name.default is name.empty else f"{name.name}={name.default}" for name in parameters]
    return f"{' '.join([fault, *words])}: {inspect.getdoc(method)}"
