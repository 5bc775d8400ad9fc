"""Many tasks at a time, for a caller that blocks."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from queue import Empty, SimpleQueue
from typing import Any, Final, Self, TypeVar

from kowalski_jupyter.api.progress import Meter, Progress
from kowalski_jupyter.api.result import RlmError

Task = str | tuple[str, Any] | Mapping[str, Any]
"""A question; a question and its context; or a mapping with ``question`` and the data by name."""

C = TypeVar("C")

MOST_PARALLEL: Final = 50
"""Tasks of a batch that may go on at a time."""

_LOOK_SECONDS: Final = 0.2
"""How often to look whether there was a Ctrl+C: one that comes just before the wait begins is not heard in it."""


def read_task(task: Task) -> tuple[str, dict[str, Any]]:
    """Return the question of a batch's task, and its data by name."""
    if isinstance(task, str):
        return task, {}
    if isinstance(task, Mapping) and "question" in task:
        return task["question"], {name: value for name, value in task.items() if name != "question"}
    if isinstance(task, tuple) and len(task) == 2:  # noqa: PLR2004 (a pair)
        return task[0], {"context": task[1]}
    raise RlmError("A task is a question, a pair of question and context, or a mapping with 'question' and data.")


def run_all(
    jobs: Sequence[Callable[[C], Awaitable[bool]]],
    *,
    width: int,
    meter: Meter,
    on_progress: Callable[[Progress], None],
    open_way: Callable[[], AbstractAsyncContextManager[C]],
) -> None:
    """Run the jobs, in order, at most `width` at a time.

    After a first Ctrl+C no more are begun and those that run are waited for; a second one cancels them. If a job
    raises, or `on_progress` does, the others are cancelled. All have ended when this returns or raises.

    Args:
        jobs: each makes, given a way to the service, what is awaited, which tells whether its task failed.
        width: from 1 up.
        meter: counts them.
        on_progress: called in this thread whenever one has ended.
        open_way: opens a way to the service, which one job at a time has.

    Raises:
        ExceptionGroup: what jobs raised.
        KeyboardInterrupt: the user stopped them.
    """
    news: SimpleQueue[Progress | None] = SimpleQueue()
    loop = asyncio.new_event_loop()
    task = loop.create_task(_work(jobs, width, meter, news.put, open_way))

    def aside() -> None:
        try:
            loop.run_until_complete(asyncio.wait([task]))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()
            news.put(None)

    def stop() -> None:
        meter.stopping = True
        news.put(meter.progress())

    thread = threading.Thread(target=aside, name="kowalski-batch")
    with _Interrupts(lambda: _call(loop, stop)) as interrupts:
        thread.start()
        try:
            while True:
                try:
                    progress = news.get(timeout=_LOOK_SECONDS)
                except Empty:
                    continue
                if progress is None:
                    break
                on_progress(progress)
        finally:
            _call(loop, task.cancel)
            thread.join()
    task.result()
    if interrupts.came:
        raise KeyboardInterrupt


class _Interrupts:
    """Takes a first Ctrl+C, wherever this thread is just then; a second one is raised, as all are without this.

    Args:
        first: called at the first.

    Attributes:
        came: whether there was one.
    """

    def __init__(self, first: Callable[[], object]) -> None:
        self.came = False
        self._first = first
        self._takes = False

    def __enter__(self) -> Self:
        # Elsewhere Ctrl+C does not come, or what comes of it is the program's own.
        if threading.current_thread() is threading.main_thread():
            self._takes = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._takes:
            signal.signal(signal.SIGINT, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        if self._takes:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _take(self, *_: object) -> None:
        if self.came:
            raise KeyboardInterrupt
        self.came = True
        self._first()


def _call(loop: asyncio.AbstractEventLoop, what: Callable[[], object]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: all have ended
        loop.call_soon_threadsafe(what)


async def _work(
    jobs: Sequence[Callable[[C], Awaitable[bool]]],
    width: int,
    meter: Meter,
    tell: Callable[[Progress], None],
    open_way: Callable[[], AbstractAsyncContextManager[C]],
) -> None:
    queue = iter(jobs)

    async def one_by_one() -> None:
        async with open_way() as way:
            for job in queue:
                meter.began()
                try:
                    failed = await job(way)
                except BaseException:
                    meter.left()
                    raise
                meter.ended(failed=failed)
                tell(meter.progress())
                if meter.stopping:
                    return

    async with asyncio.TaskGroup() as group:
        for _ in range(min(width, len(jobs))):
            group.create_task(one_by_one())


def in_order(count: int, priorities: Sequence[int] | None) -> list[int]:
    """Return the numbers of tasks as they should be begun: the highest priority first, then as they stand.

    Raises:
        ValueError: there is not a priority for each.
    """
    if priorities is None:
        return list(range(count))
    if len(priorities) != count:
        raise ValueError(f"There are {count} tasks and {len(priorities)} priorities: give one for each.")
    return sorted(range(count), key=lambda number: -priorities[number])
