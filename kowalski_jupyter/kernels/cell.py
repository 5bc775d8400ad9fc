"""The cell that a kernel runs: what has come of it, how long it may take, and how it ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from .base import CellResult, CellStatus, Output, Value
from .deadline import Deadline
from .outcome import last_outputs
from .wire import carried

OnOutput = Callable[[Output], None]


class Cell:
    """One cell, from its request to its end.

    Attributes:
        request: the id of the request, which all messages that belong to the cell name.
        done: set when the cell has ended, or its kernel has.
        deadline: the limit of `seconds`; `on_deadline` is called when it is reached.
        received: characters of output, for a kernel that counts them.
        stopped_by: why it was told to stop, if it was.
        answer: the run's answer, if its code gave one that goes with the cell's end.
        draft: what its code would give if it had to, if that is new.
    """

    def __init__(self, request: str, on_output: OnOutput, seconds: float, on_deadline: Callable[[], None]) -> None:
        self.request = request
        self.on_output = on_output
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.deadline = Deadline(seconds, on_deadline)
        self.received = 0
        self.stopped_by: CellStatus | None = None
        self.answer: Value | None = None
        self.draft: Value | None = None
        self._seconds = seconds
        self._started = time.monotonic()
        self._reply: Mapping[str, Any] | None = None
        self._idle = False
        self._published = 0
        self._kill_timer: asyncio.TimerHandle | None = None

    @property
    def complete(self) -> bool:
        """Whether its kernel has said that it has ended, and what came before that is here."""
        return self._reply is not None and (self._idle or self._published == self._reply.get("published"))

    def take(self, channel: str, message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Take a message that belongs to the cell; return those that may carry its outputs.

        Raises:
            BadRequestError: it carries an answer or a draft that is none.
        """
        outputs = []
        if channel == "shell":
            self.answer = carried(message["content"], "answer")
            self.draft = carried(message["content"], "draft")
            self._reply = message["content"]
        elif channel == "iopub" and message["msg_type"] == "status":
            self._idle = message["content"].get("execution_state") == "idle"
        elif channel == "iopub":
            self._published += 1
            outputs.append(message)
        return [*outputs, *last_outputs(self._reply)] if self._reply is not None and self.complete else outputs

    def let_go(self) -> None:
        """Hand on no more output: who waited for it was cancelled, and `done` with it. Another one tells of the end."""
        self.on_output = _ignore
        self.done = asyncio.get_running_loop().create_future()

    def stop(self, status: CellStatus, *, within: float, kill: Callable[[str], None]) -> None:
        """Note why it is told to stop; `kill` its kernel, with the reason, if it takes more seconds than `within`."""
        self.stopped_by = status
        reason = f"the cell did not stop at {self.limit}, so its kernel was ended; all variables are gone"
        self._kill_timer = asyncio.get_running_loop().call_later(within, kill, reason)

    def end(self) -> None:
        """The cell has ended, or its kernel has."""
        self.deadline.cancel()
        if self._kill_timer is not None:
            self._kill_timer.cancel()
        if not self.done.done():
            self.done.set_result(None)

    @property
    def limit(self) -> str:
        """What it was stopped by, in words."""
        return f"its limit of {self._seconds:g} s" if self.stopped_by == "timeout" else "an interrupt"

    def result(self, death: str, *, final: bool) -> CellResult:
        """Return how it ended.

        Args:
            death: Why its kernel is gone, if it is.
            final: Whether the run has its answer.
        """
        seconds = time.monotonic() - self._started
        reply = self._reply or {}
        names = tuple(name for name in reply.get("names", ()) if isinstance(name, str) and name.isidentifier())
        status, reason = self._outcome(death, final=final)
        return CellResult(status, reason, seconds, names, self.draft)

    def _outcome(self, death: str, *, final: bool) -> tuple[CellStatus, str]:
        """Return how it ended, and why."""
        if final:
            return "final", ""
        if self._reply is None:
            return "died", death
        if self.stopped_by == "timeout":
            return "timeout", f"the cell was interrupted at {self.limit}; its variables are kept"
        if self.stopped_by == "interrupted":
            return "interrupted", "the cell was interrupted"
        if self._reply.get("status") != "ok":
            return "error", str(self._reply.get("ename", ""))[:200]
        return "ok", ""


def _ignore(_output: Output) -> None:
    """Drop an output."""
