"""Kernels of one kind that are started before anybody asks for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

REFILL_SECONDS = 1.0
"""How long after a spare is taken the next is started: the run that took it needs the processors first."""


class Spare(Protocol):
    """A kernel, or a sandbox that waits for one."""

    @property
    def alive(self) -> bool:
        """Whether it is still there."""
        ...

    async def close(self) -> None:
        """End it."""
        ...


Kept = TypeVar("Kept", bound=Spare)


class Spares(Generic[Kept]):
    """Keeps some started, and starts another where there is none.

    Args:
        start: Starts one.
        count: How many are kept.
        prepare: Done to each that is going to wait.
        idle_seconds: After how long without a taker they are closed, until the next taker. None: never.
    """

    def __init__(
        self,
        start: Callable[[], Awaitable[Kept]],
        *,
        count: int,
        prepare: Callable[[Kept], Awaitable[None]] | None = None,
        idle_seconds: float | None = None,
    ) -> None:
        self._start = start
        self._count = count
        self._prepare = prepare
        self._idle_seconds = idle_seconds
        self._tasks: list[asyncio.Task[Kept]] = []
        self._leaving: set[asyncio.Task[None]] = set()
        self._refill: asyncio.TimerHandle | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._closed = False

    def fill(self) -> None:
        """Start what is missing, in the background."""
        self._cancel_timers()
        while len(self._tasks) < self._count and not self._closed:
            task = asyncio.ensure_future(self._start_spare())
            # Whoever takes the spare gets the error; if nobody does, it is no news.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._tasks.append(task)
        if self._idle_seconds is not None and self._tasks:
            self._idle = asyncio.get_running_loop().call_later(self._idle_seconds, self._let_go)

    async def ready(self) -> None:
        """Start what is missing now, and wait until all are there."""
        self.fill()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def take(self) -> Kept:
        """Return a spare that is still alive, or a new kernel, and see to the next spare."""
        try:
            while self._tasks:
                task = self._tasks[0]
                await asyncio.wait([task])
                if task not in self._tasks:
                    continue  # another run was faster
                self._tasks.remove(task)
                kernel = await task
                if kernel.alive:
                    return kernel
                await kernel.close()
            return await self._start()
        finally:
            if not self._closed:
                self._cancel_timers()
                self._refill = asyncio.get_running_loop().call_later(REFILL_SECONDS, self.fill)

    async def close(self) -> None:
        """Start no more, and end all that are there or on their way."""
        self._closed = True
        self._cancel_timers()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*map(_end, tasks), *self._leaving)

    async def _start_spare(self) -> Kept:
        spare = await self._start()
        if self._prepare is not None:
            await self._prepare(spare)
        return spare

    def _cancel_timers(self) -> None:
        for timer in (self._refill, self._idle):
            if timer is not None:
                timer.cancel()

    def _let_go(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            leaving = asyncio.create_task(_end(task))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)


async def _end(starting: asyncio.Task[Kept]) -> None:
    await asyncio.wait([starting])
    if not starting.cancelled() and starting.exception() is None:
        await starting.result().close()
