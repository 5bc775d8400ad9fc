"""Turn SIGINT into a `KeyboardInterrupt` in the cell's own code, and nowhere else.

Python's default handler raises wherever the main thread happens to be: in our output lock, in ZMQ, in
the event loop. Any of these would wedge or end the kernel, and a cell that prints in a loop spends
most of its time there.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from types import FrameType
from typing import Any


class Interrupts:
    """The SIGINT handler of the main thread, and a context manager that holds it off.

    ``with interrupts:`` marks a stretch that must not be broken. An interrupt that arrives within is
    raised at its end.
    """

    def __init__(self) -> None:
        self._main = threading.main_thread().ident
        self._running = False
        self._task: asyncio.Task[Any] | None = None
        self._depth = 0
        self._pending = False

    def install(self) -> None:
        """Become the process's SIGINT handler."""
        signal.signal(signal.SIGINT, self._on_signal)

    def start_cell(self) -> None:
        """From now on an interrupt concerns a cell's code: the current task's, or else what is running right now."""
        self._pending = False
        self._task = asyncio.current_task()
        self._running = True

    def end_cell(self) -> None:
        """The cell's code is over: an interrupt that comes now is too late."""
        self._running = False
        task, self._task = self._task, None
        if task is not None:
            while task.cancelling():
                task.uncancel()

    def __enter__(self) -> None:
        """Hold interrupts off."""
        if threading.get_ident() == self._main:
            self._depth += 1

    def __exit__(self, *_: object) -> None:
        """Let them through again."""
        if threading.get_ident() == self._main:
            self._depth -= 1
            if self._pending and not self._depth:
                self._pending = False
                raise KeyboardInterrupt

    def _on_signal(self, _signum: int, _frame: FrameType | None) -> None:
        task = self._task
        if not self._running:
            return
        if task is not None and asyncio.current_task(task.get_loop()) is not task:
            # The cell awaits: raising here would break the event loop, so cancel what it awaits.
            task.get_loop().call_soon_threadsafe(task.cancel)
        elif self._depth:
            self._pending = True
        else:
            raise KeyboardInterrupt


interrupts = Interrupts()
