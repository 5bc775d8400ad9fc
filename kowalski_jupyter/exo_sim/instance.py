"""A model on some nodes: its runners load it, and work on so many requests at a time, first come, first served."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from kowalski_jupyter.exo_sim.job import Job
from kowalski_jupyter.exo_sim.plan import Model, Reply
from kowalski_jupyter.exo_sim.replies import tokens

if TYPE_CHECKING:
    from kowalski_jupyter.exo_sim.cluster import Cluster, Member

MAX_STARTS: Final = 5
"""Runner starts after which exo gives an instance up."""

CANCEL_EVERY: Final = 100
"""Tokens between two looks of a runner whether anybody still wants its reply."""


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
        self.whole = asyncio.Event()
        self.whole.set()
        self.counted = 0
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
        self._task("CreateRunner", boundInstance={"instance": self.body})
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
        self.ready.set()
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
        finally:
            self.active.pop(job, None)
            self.cluster.done(job)
            self._admit(ended)

    async def _reply(self, job: Job, began: float) -> float:
        """Say the reply at its pace; return when it ended by that pace, in the loop's time."""
        prompt = job.prompt_tokens
        job.answer.prefill(0, prompt)
        reply = self.cluster.replies.at_once(job.payload)
        if reply is None:
            reply = await self.cluster.replies.make(job.payload, job.record.id)
        at = await self._until(began, reply.delay * self.slow())
        job.answer.prefill(max(0, prompt - 1), prompt)
        job.answer.prefill(prompt, prompt)
        thoughts, pieces = tokens(reply.reasoning), tokens(reply.text)
        limit = max(0, job.max_tokens - len(thoughts))
        length = len(pieces) >= limit
        pieces, last = (pieces[: limit - 1], pieces[limit - 1 : limit]) if length else (pieces, [])
        stop_at = job.fault.after if job.fault else None
        said = 0
        for part, reasoning in ((thoughts, True), (pieces, False)):
            size = 1 if reply.tokens_per_second or stop_at is not None else max(1, len(part))
            for start in range(0, len(part), size):
                if stop_at is not None and said >= stop_at:
                    return await self._fail(job, at)
                if reply.tokens_per_second:
                    at = await self._until(at, self.slow() / reply.tokens_per_second)
                    if job.abandoned and said % CANCEL_EVERY == 0:
                        return at
                job.answer.tokens(*part[start : start + size], reasoning=reasoning)
                said += size
        if stop_at is not None:
            return await self._fail(job, at)
        if reply.tokens_per_second:
            at = await self._until(at, self.slow() / reply.tokens_per_second)
        count = len(thoughts) + len(pieces) + 1
        self._finish(job, reply, "".join(last), "length" if length else reply.finish, prompt, count, at - began)
        return at

    def _finish(self, job: Job, reply: Reply, last: str, reason: str, prompt: int, count: int, took: float) -> None:
        usage = {
            "prompt_tokens": prompt + 1,
            "completion_tokens": count,
            "total_tokens": prompt + 1 + count,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": len(tokens(reply.reasoning)),
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }
        stats = {
            "prompt_tps": round((prompt + 1) / max(reply.delay * self.slow(), 1e-3), 6),
            "generation_tps": round(count / max(took - reply.delay * self.slow(), 1e-3), 6),
            "prompt_tokens": prompt + 1,
            "generation_tokens": count,
            "peak_memory_usage": {"in_bytes": self.model.size},
            "prefix_cache_hit": "none",
        }
        job.answer.finish(last, reason, usage, stats)

    async def _fail(self, job: Job, at: float) -> float:
        """Do what the request's fault is."""
        match job.fault.kind if job.fault else "":
            case "zombie_stream":
                job.answer.zombify()
            case "empty_200":
                job.answer.empty()
            case "partial_json":
                job.answer.cut()
            case _:
                job.answer.error("Runner shutdown before completing command (signal=9 (Killed))")
        return at

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
