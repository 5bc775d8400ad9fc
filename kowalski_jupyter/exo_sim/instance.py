"""A model on some nodes: its runners load it, and work on so many requests at a time, first come, first served."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from kowalski_jupyter.exo_sim.job import Job
from kowalski_jupyter.exo_sim.plan import Model
from kowalski_jupyter.exo_sim.speaking import Speech

if TYPE_CHECKING:
    from kowalski_jupyter.exo_sim.cluster import Cluster, Member

MAX_STARTS: Final = 5
"""Runner starts after which exo gives an instance up."""


class Instance:
    """One replica. `body` is its JSON; `members` are its nodes in order of rank."""

    def __init__(self, cluster: Cluster, model: Model, members: Sequence[Member], body: dict[str, Any]) -> None:
        self.cluster = cluster
        self.model = model
        self.members = list(members)
        self.body = body
        inner = next(iter(body.values()))
        self.id: str = inner["instanceId"]
        self.runners: dict[str, str] = inner["shardAssignments"]["nodeToRunner"]
        self.states: dict[str, dict[str, Any]] = {}
        self.tasks: dict[str, dict[str, Any]] = {}
        self.ready = asyncio.Event()
        self.settled = asyncio.Event()  # loaded once, or gone
        self.whole = asyncio.Event()
        self.whole.set()
        self.counted = 0
        self.placed_at = time.time()
        self.ready_at: float | None = None
        self.starts = 0
        self.active: dict[Job, asyncio.Task[None]] = {}
        self.queue: deque[Job] = deque()
        self._loading: asyncio.Task[None] | None = None

    def load(self) -> None:
        """Begin to load the model."""
        self.starts += 1
        self.ready.clear()
        self._loading = asyncio.get_running_loop().create_task(self._load())

    async def _load(self) -> None:
        times = self.cluster.plan.timings
        self._all("RunnerIdle")
        for node, runner in self.runners.items():
            bound = {"instance": self.body, "boundRunnerId": runner, "boundNodeId": node}
            self._task("CreateRunner", boundInstance=bound)
        for member in self.members:
            await self.cluster.downloads.obtain(member, self.model)
        if len(self.members) > 1:
            self._all("RunnerConnecting")
            await self._step(times.connect)
            self._all("RunnerConnected")
        self._task("LoadModel")
        share = max(1, self.model.layers // len(self.members))
        steps = 4
        for step in range(steps):
            self._all("RunnerLoading", layersLoaded=share * step // steps, totalLayers=share)
            await self._step(self.model.load_seconds / len(self.members) / steps)
        self._all("RunnerLoaded")
        self._task("StartWarmup")
        self._all("RunnerWarmingUp")
        await self._step(times.warm_up)
        self._all("RunnerReady", prefillServerPort=None)
        self.ready_at = time.time()
        self.ready.set()
        self.settled.set()
        self.cluster.event()
        self._admit(asyncio.get_running_loop().time())

    async def _step(self, seconds: float) -> None:
        await self.cluster.clock.sleep(seconds)
        await self.whole.wait()

    def _all(self, kind: str, **values: Any) -> None:
        self.states = {runner: {kind: values} for runner in self.runners.values()}
        self.cluster.event(len(self.runners))

    def _task(self, kind: str, **values: Any) -> None:
        task_id = str(uuid.uuid4())
        head = {"taskId": task_id, "taskStatus": "Complete", "instanceId": self.id}
        self.tasks[task_id] = {kind: head | values}

    def runner_states(self) -> dict[str, dict[str, Any]]:
        """Return `/state/runners` of this instance: a ready one that works is running."""
        if self.active and self.ready.is_set():
            return {runner: {"RunnerRunning": {}} for runner in self.states}
        return self.states

    def take(self, job: Job) -> None:
        """Work on a request as soon as a slot is free."""
        job.record.instance = self.id
        job.record.served_by = [member.index for member in self.members]
        self.queue.append(job)
        self._admit(job.arrived)

    def _admit(self, free_since: float) -> None:
        """Fill the slots. A request begins when its slot became free, not when somebody came to look."""
        while self.ready.is_set() and self.queue and len(self.active) < self.cluster.plan.slots:
            job = self.queue.popleft()
            if job.abandoned:
                continue
            reason = job.crash_reason()
            if reason is not None:
                self.active[job] = asyncio.get_running_loop().create_task(asyncio.sleep(0))
                self.crash(reason)
                return
            if not self.active:
                job.status = "Running"
            work = self._work(job, max(free_since, job.arrived))
            self.active[job] = asyncio.get_running_loop().create_task(work)

    async def _work(self, job: Job, began: float) -> None:
        job.record.began = time.time()
        ended = began
        try:
            ended = await self._reply(job, began)
        except Exception as error:  # noqa: BLE001 (a rule that cannot be carried out must not look like a zombie)
            job.answer.error(f"The simulation failed: {error!r}")
        finally:
            self.active.pop(job, None)
            self.cluster.done(job)
            self._admit(ended)

    async def _reply(self, job: Job, began: float) -> float:
        """Say the reply; return when it ended by its own pace, in the loop's time."""
        prompt = job.count_prompt()
        job.answer.prefill(0, prompt)
        reply = self.cluster.replies.at_once(job.payload)
        if reply is None:
            reply = await self.cluster.replies.make(job.payload, job.record.id)
        return await Speech(job, self.model, reply, self.slow(), prompt).say(began, self._until)

    async def _until(self, since: float, seconds: float) -> float:
        """Wait until so long after a moment of the loop's time, and while a node is missing; return that moment."""
        at = since + seconds
        wait = at - asyncio.get_running_loop().time()
        if wait > 0:
            await asyncio.sleep(wait)
        if not self.whole.is_set():
            await self.whole.wait()
            return asyncio.get_running_loop().time()
        return at

    def slow(self) -> float:
        """Return how many times longer everything takes: the slowest node's."""
        return max((member.slow for member in self.members), default=1.0)

    def crash(self, reason: str) -> None:
        """Let the runner die: its requests fail, it comes back, and after too many starts the instance goes."""
        failed = {"errorMessage": f"Terminated ({reason})", "diagnostics": []}
        for job in self._drop():
            self.cluster.done(job)
            job.answer.error(reason)
        self._stop_loading()
        self.ready.clear()
        self._all("RunnerFailed", **failed)
        if self.starts >= MAX_STARTS:
            self.cluster.delete(self.id)
            return
        pause = min(10.0, self.cluster.plan.timings.runner_back * 2 ** (self.starts - 1))
        self._loading = asyncio.get_running_loop().create_task(self._come_back(pause))

    async def _come_back(self, pause: float) -> None:
        await self.cluster.clock.sleep(pause)
        self.load()

    def end(self, each: Callable[[Job], None]) -> None:
        """Be no more; `each` says what becomes of the requests."""
        self.ready.clear()
        self.settled.set()
        for job in self._drop():
            self.cluster.done(job)
            each(job)
        self._stop_loading()

    def _drop(self) -> list[Job]:
        jobs = [*self.active, *self.queue]
        works = list(self.active.values())
        self.queue.clear()
        self.active.clear()
        for work in works:
            work.cancel()
        return jobs

    def _stop_loading(self) -> None:
        loading, self._loading = self._loading, None
        if loading is not None and loading is not asyncio.current_task():
            loading.cancel()
