"""The cluster as its master sees it: members, sessions, elections, instances, and who gets which request."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from kowalski_jupyter.exo_sim.clock import Clock
from kowalski_jupyter.exo_sim.downloads import Downloads
from kowalski_jupyter.exo_sim.instance import Instance
from kowalski_jupyter.exo_sim.job import Job, RequestFault
from kowalski_jupyter.exo_sim.placement import Place, PlacementError, choose, instance
from kowalski_jupyter.exo_sim.plan import Device, Model, Plan
from kowalski_jupyter.exo_sim.replies import Replies

FULL = 64 << 20
"""What a full node has left, in bytes: less than any model takes."""


@dataclass(eq=False, slots=True)
class Member:
    """One life of a node, from its start to its end: exo gives each a new id.

    `joined` and `silent_since` (None while it is heard) are simulated seconds.
    """

    index: int
    address: str
    device: Device
    joined: float
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    silent_since: float | None = None
    slow: float = 1.0
    full: bool = False


class Cluster:
    """The one state that all nodes show."""

    def __init__(self, plan: Plan, replies: Replies) -> None:
        self.plan = plan
        self.replies = replies
        self.clock = Clock(plan.speed)
        self.models = {model.id: model for model in plan.models}
        self.members: dict[str, Member] = {}
        self.ghosts: dict[str, Member] = {}
        self.instances: dict[str, Instance] = {}
        self.orphans: dict[str, dict[str, Any]] = {}
        self.tasks: dict[str, dict[str, Any]] = {}
        self.jobs: dict[str, Job] = {}
        self.downloads = Downloads(self)
        self.master: Member | None = None
        self.session = 0
        self.refuse_placements = 0
        self.faults: list[RequestFault] = []
        self._uncounted: deque[tuple[float, Instance, int]] = deque()
        self._events = 0.0
        self._events_at = self.clock.now()
        self._released = asyncio.Event()
        self._released.set()
        self._pause: asyncio.TimerHandle | None = None
        self._lost_session = False

    # Events

    def event(self, count: int = 1) -> None:
        """Count events of the session's log."""
        self._events += count

    def last_event(self) -> int:
        """Return the number of the last event: every member's sensors make about three a second besides."""
        now = self.clock.now()
        self._events += (now - self._events_at) * 3 * sum(m.silent_since is None for m in self.members.values())
        self._events_at = now
        return int(self._events)

    # Members

    def join(self, member: Member, *, pause: bool = True) -> None:
        """Take a member in."""
        self.members[member.id] = self.ghosts[member.id] = member
        self.event(8)
        if self.master is None:
            self.master = member
        elif pause:
            self.hold()

    def lose(self, member: Member) -> None:
        """Hear no more of a member. Without the master all is lost, else exo takes its time to notice."""
        if member.silent_since is not None:
            return
        member.silent_since = since = self.clock.now()
        for each in self.instances.values():
            if member in each.members:
                each.whole.clear()
        if member is self.master:
            self.new_master()
            return
        self.hold()
        times = self.plan.timings
        self.clock.later(times.node_timeout, lambda: self._drop_member(member, since))
        self.clock.later(times.instance_timeout, lambda: self._drop_instances(member, since))

    def regain(self, member: Member) -> None:
        """Hear of a member again."""
        member.silent_since = None
        if member.id not in self.members:
            member.joined = self.clock.now()
        for each in self.instances.values():
            if all(other.silent_since is None for other in each.members):
                each.whole.set()
        self.join(member)

    def _drop_member(self, member: Member, since: float) -> None:
        if member.silent_since == since and self.members.pop(member.id, None) is not None:
            self.event()

    def _drop_instances(self, member: Member, since: float) -> None:
        if member.silent_since == since:
            for each in list(self.instances.values()):
                if member in each.members:
                    self.delete(each.id)

    # Elections

    def hold(self) -> None:
        """Campaign, from now on if one is going on: commands wait, and go on together after it."""
        self._released.clear()
        if self._pause is not None:
            self._pause.cancel()
        self._pause = self.clock.later(self.plan.timings.election, self._elected)

    def new_master(self) -> None:
        """Elect another master: at the end of the campaign nothing of the old session is left."""
        self._lost_session = True
        self.hold()

    def _elected(self) -> None:
        self._pause = None
        if self._lost_session:
            self._lost_session = False
            self._reset()
        self._released.set()

    def _reset(self) -> None:
        for each in list(self.instances.values()):
            each.end(lambda job: job.answer.zombify())
        for job in self.jobs.values():
            job.answer.zombify()
        now = self.clock.now()
        self.members = {key: member for key, member in self.members.items() if member.silent_since is None}
        for member in self.members.values():
            member.joined = now
        self.ghosts = dict(self.members)
        self.master = next(iter(self.members.values()), None)
        self.instances.clear()
        self.orphans.clear()
        self.tasks.clear()
        self.jobs.clear()
        self.session += 1
        self._events, self._events_at = 8.0 * len(self.members), now

    @property
    def campaigning(self) -> bool:
        """Tell whether commands are held."""
        return not self._released.is_set()

    async def released(self) -> bool:
        """Wait while a campaign holds commands. Returns whether the session is still the one it was."""
        session = self.session
        await self._released.wait()
        return session == self.session

    # Models

    def available(self, member: Member) -> int:
        """Return a member's free memory, in bytes."""
        if member.full:
            return FULL
        used = sum(each.model.size // len(each.members) for each in self.instances.values() if member in each.members)
        return max(FULL, member.device.available - used)

    def places(self, only: list[str] | None = None) -> list[Place]:
        """Return where models may go."""
        cutoff = self.clock.now() - self.plan.timings.edges
        return [
            Place(m.id, m.address, self.available(m), m.device.mac, m.joined <= cutoff)
            for m in self.members.values()
            if not only or m.id in only
        ]

    def place(
        self, model: Model, sharding: str = "Pipeline", meta: str = "MlxRing", min_nodes: int = 1
    ) -> Instance | None:
        """Do as `/place_instance` says; None if the master refuses, as it does without telling anybody."""
        try:
            chosen = choose(self.places(), model, sharding, meta, min_nodes)
        except PlacementError:
            return None
        return self.create(model, instance(model, chosen, sharding))

    def create(self, model: Model, body: dict[str, Any]) -> Instance | None:
        """Make an instance of its JSON, and load it."""
        nodes = next(iter(body.values()))["shardAssignments"]["nodeToRunner"]
        if not all(node in self.members for node in nodes):
            return None
        made = Instance(self, model, [self.members[node] for node in nodes], body)
        if any(member.silent_since is not None for member in made.members):
            made.whole.clear()
        self.instances[made.id] = made
        self.event()
        made.load()
        return made

    def delete(self, instance_id: str) -> None:
        """End an instance; its requests end without a word."""
        gone = self.instances.pop(instance_id)
        gone.end(lambda job: job.answer.cut())
        self.orphans |= {runner: {"RunnerShuttingDown": {}} for runner in gone.runners.values()}
        self.tasks |= gone.tasks
        self.event(2)

    # Requests

    def submit(self, job: Job) -> None:
        """Give a request to the replica that has fewest by the master's count, the oldest of them if several have."""
        replicas = [each for each in self.instances.values() if each.model.id == job.record.model]
        if not replicas:
            job.answer.zombify()
            return
        job.fault = self._fault(job)
        self._recount()
        chosen = min(replicas, key=lambda each: each.counted)
        self.jobs[job.record.id] = job
        self._count(chosen, 1)
        chosen.take(job)

    def _fault(self, job: Job) -> RequestFault | None:
        """Return what is to go wrong with a request, once."""
        for at, fault in enumerate(self.faults):
            if fault.node in (None, job.record.node) and fault.model in (None, job.record.model):
                del self.faults[at]
                job.record.fault = fault.kind
                return fault
        return None

    def done(self, job: Job) -> None:
        """Count a request as over."""
        chosen = self.instances.get(job.record.instance or "")
        if self.jobs.pop(job.record.id, None) is not None and chosen is not None:
            self._count(chosen, -1)
        if job.status == "Cancelled":
            self.tasks[job.task_id] = job.task()

    def _count(self, chosen: Instance, by: int) -> None:
        """Have the master count one more request or one less, as late as it does."""
        self.event()
        self._uncounted.append((self.clock.now() + self.plan.timings.event_lag, chosen, by))

    def _recount(self) -> None:
        """Count what the master has heard of by now."""
        now = self.clock.now()
        while self._uncounted and self._uncounted[0][0] <= now:
            _, chosen, by = self._uncounted.popleft()
            chosen.counted += by

    def forget(self, job: Job) -> None:
        """Note that the client has gone: its task stays in the state as cancelled, prompt and all."""
        job.abandoned = True
        job.status = "Cancelled"
        chosen = self.instances.get(job.record.instance or "")
        if chosen is not None and job in chosen.queue:
            chosen.queue.remove(job)
            self.done(job)

    def end(self) -> None:
        """Stop everything."""
        for each in self.instances.values():
            each.end(lambda job: job.answer.zombify())
        self.downloads.end()
        if self._pause is not None:
            self._pause.cancel()
