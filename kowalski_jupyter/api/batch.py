"""Many tasks at a time, for a caller that blocks."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from queue import SimpleQueue
from typing import Any, TypeVar

from kowalski_jupyter.api.result import RlmError

Task = str | tuple[str, Any] | Mapping[str, Any]
"""A question; a question and its context; or a mapping with ``question`` and the data by name."""

T = TypeVar("T")


def read_task(task: Task) -> tuple[str, dict[str, Any]]:
    """Return the question of a batch's task, and its data by name."""
    if isinstance(task, str):
        return task, {}
    if isinstance(task, Mapping) and "question" in task:
        return task["question"], {name: value for name, value in task.items() if name != "question"}
    if isinstance(task, tuple) and len(task) == 2:  # noqa: PLR2004 (a pair)
        return task[0], {"context": task[1]}
    raise RlmError("A task is a question, a pair of question and context, or a mapping with 'question' and data.")


def run_all(jobs: Sequence[Callable[[], Awaitable[T]]], *, width: int, on_done: Callable[[int], None]) -> list[T]:
    """Run the jobs, at most `width` at a time, and return what each returned, in their order.

    Jobs are begun in order. If one raises, or something comes up here (Ctrl+C, or an error of `on_done`), the others
    are cancelled; all have ended when this returns or raises.

    Args:
        jobs: each makes what is awaited.
        width: from 1 up.
        on_done: called in this thread with the number of jobs that have ended.

    Raises:
        ExceptionGroup: what jobs raised.
    """
    more: SimpleQueue[bool] = SimpleQueue()
    loop = asyncio.new_event_loop()
    task = loop.create_task(_work(jobs, width, lambda: more.put(True)))

    def aside() -> None:
        try:
            loop.run_until_complete(asyncio.wait([task]))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()
            more.put(False)

    thread = threading.Thread(target=aside, name="kowalski-batch")
    thread.start()
    count = 0
    try:
        while more.get():
            count += 1
            on_done(count)
    finally:
        with contextlib.suppress(RuntimeError):  # the loop is closed: all have ended
            loop.call_soon_threadsafe(task.cancel)
        thread.join()
    return task.result()


async def _work(jobs: Sequence[Callable[[], Awaitable[T]]], width: int, on_end: Callable[[], None]) -> list[T]:
    results: dict[int, T] = {}
    queue = iter(enumerate(jobs))

    async def one_by_one() -> None:
        for index, job in queue:
            results[index] = await job()
            on_end()

    async with asyncio.TaskGroup() as group:
        for _ in range(min(width, len(jobs))):
            group.create_task(one_by_one())
    return [results[index] for index in range(len(jobs))]
