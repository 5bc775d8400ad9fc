"""Everything that can go wrong, by name; the same for Python, the control URL and the terminal.

=================== ================================================= =========================================================
fault               settings (defaults)                               what happens
=================== ================================================= =========================================================
kill_node           node                                              its process is killed; exo notices after a while
kill_master                                                           the master's is: an election, and all instances gone
stop_node           node                                              it ends its streams properly, without a finish, and goes
node_back           node                                              its process starts again, under a new node id
add_node            name="", available=48 GiB, memory=64 GiB          one more node joins; returns its index
partition           node, seconds=None                                no byte goes in or out; its streams are zombies after it
heal                node                                              the end of a partition
refuse_connections  node                                              nothing listens there any more; open connections stay
accept_connections  node                                              the end of that
election            master_changes=False                              commands wait; with a change all instances are gone
kill_runner         instance=None, model=None, node=None              requests fail, the model is loaded again
delete_instance     instance=None, model=None, node=None              requests end without a word
refuse_placement    count=1                                           "Command received.", and then nothing
slow_node           node, factor                                      replies take so many times as long
full_node           node, full=True                                   no memory left for a model
zombie_stream       count=1, after=0, node=None, model=None           a request gets keep-alives for ever after so many tokens
empty_200           the same                                          a request gets 200 and nothing
partial_json        the same                                          a request gets a part of the text and no finish_reason
error_chunk         the same                                          a request gets exo's error in the stream
clear                                                                 forgets the faults of requests and placements to come
=================== ================================================= =========================================================

`node` is an index, from 0; for the faults of requests it is the node that is asked, None for any. Where `instance` is
None, the oldest one of the model, on the node, or of all is meant. Seconds are simulated ones. A dead replica that is
still chosen is what comes of `kill_node` where a model has several.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from kowalski_jupyter.exo_sim.instance import Instance
from kowalski_jupyter.exo_sim.job import RequestFault
from kowalski_jupyter.exo_sim.plan import GIB, Device

if TYPE_CHECKING:
    from kowalski_jupyter.exo_sim.coordinator import Coordinator
    from kowalski_jupyter.exo_sim.nodes import Node


class FaultError(Exception):
    """A fault that there is not, or that cannot happen now."""


class Faults:
    """Injects faults."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._cluster = coordinator.cluster
        self._kinds = {name: getattr(self, name) for name in vars(type(self)) if not name.startswith(("_", "inject"))}
        self._kinds |= dict.fromkeys(RequestFault.kinds)

    async def inject(self, fault: str, settings: dict[str, Any]) -> Any:
        """Let a fault happen; return what it says.

        Raises:
            FaultError: in one line, what is wrong with what was asked for.
        """
        if fault not in self._kinds:
            raise FaultError(f"There is no fault {fault!r}. There are: {', '.join(self._kinds)}.")
        try:
            if fault in RequestFault.kinds:
                return self._request(fault, **settings)
            return await self._kinds[fault](**settings)
        except TypeError as error:
            raise FaultError(f"{fault}: {str(error).rpartition('.')[2]}") from None

    def _node(self, index: int) -> Node:
        nodes = self._coordinator.nodes
        if not isinstance(index, int) or not 0 <= index < len(nodes):
            raise FaultError(f"There is no node {index}. There are 0 to {len(nodes) - 1}.")
        return nodes[index]

    def _instance(self, instance: str | None, model: str | None, node: int | None) -> Instance:
        for each in self._cluster.instances.values():
            if instance in (None, each.id) and model in (None, each.model.id):
                if node is None or node in [member.index for member in each.members]:
                    return each
        raise FaultError("There is no such instance now.")

    async def kill_node(self, node: int) -> None:
        machine = self._node(node)
        machine.kill()
        self._coordinator.chat.node_killed(node)
        self._cluster.lose(machine.member)

    async def kill_master(self) -> int:
        if self._cluster.master is None:
            raise FaultError("There is no node left to be the master.")
        index = self._cluster.master.index
        await self.kill_node(index)
        return index

    async def stop_node(self, node: int) -> None:
        for job in self._coordinator.chat.of_node(node):
            job.answer.cut()
            self._cluster.forget(job)
        await asyncio.sleep(0.05)  # for the bytes to be out
        await self.kill_node(node)

    async def node_back(self, node: int) -> None:
        machine = self._node(node)
        if machine.up:
            raise FaultError(f"Node {node} is up.")
        await self._coordinator.restart(machine)

    async def add_node(self, name: str = "", available: int = 48 * GIB, memory: int = 64 * GIB) -> int:
        return await self._coordinator.add_node(Device(name=name, available=available, memory=memory))

    async def partition(self, node: int, seconds: float | None = None) -> None:
        machine = self._node(node)
        machine.hold(True)
        for job in self._coordinator.chat.of_node(node):
            job.answer.zombify()
        self._cluster.lose(machine.member)
        if seconds is not None:
            self._cluster.clock.later(seconds, lambda: self._heal(machine))

    async def heal(self, node: int) -> None:
        self._heal(self._node(node))

    def _heal(self, machine: Node) -> None:
        if machine.partitioned:
            machine.hold(False)
            self._cluster.regain(machine.member)

    async def refuse_connections(self, node: int) -> None:
        self._node(node).refuse(True)

    async def accept_connections(self, node: int) -> None:
        self._node(node).refuse(False)

    async def election(self, master_changes: bool = False) -> None:
        if master_changes:
            self._cluster.new_master()
        else:
            self._cluster.hold()

    async def kill_runner(self, instance: str | None = None, model: str | None = None, node: int | None = None) -> str:
        found = self._instance(instance, model, node)
        found.whole.clear()  # no token comes from now on
        await self._cluster.clock.sleep(self._cluster.plan.timings.runner_death)
        if found.id in self._cluster.instances:
            if all(member.silent_since is None for member in found.members):
                found.whole.set()
            found.crash("Runner shutdown before completing command (signal=9 (Killed))")
        return found.id

    async def delete_instance(
        self, instance: str | None = None, model: str | None = None, node: int | None = None
    ) -> str:
        found = self._instance(instance, model, node)
        self._cluster.delete(found.id)
        return found.id

    async def refuse_placement(self, count: int = 1) -> None:
        self._cluster.refuse_placements += count

    async def slow_node(self, node: int, factor: float) -> None:
        self._node(node).member.slow = factor

    async def full_node(self, node: int, full: bool = True) -> None:
        self._node(node).member.full = full

    async def clear(self) -> None:
        self._cluster.faults.clear()
        self._cluster.refuse_placements = 0

    def _request(
        self, kind: str, count: int = 1, after: int = 0, node: int | None = None, model: str | None = None
    ) -> None:
        self._cluster.faults += [(RequestFault(kind, after), node, model)] * count
