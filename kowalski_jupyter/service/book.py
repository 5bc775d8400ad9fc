"""All runs that a service knows: its own, those of other processes, and those of the past."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from kowalski_jupyter.kernels.base import Value
from kowalski_jupyter.rlm.events import Answered, Event, Notice
from kowalski_jupyter.rlm.log import EventLog
from kowalski_jupyter.rlm.run import Run
from kowalski_jupyter.rlm.trace import Trace
from kowalski_jupyter.service.listing import listing
from kowalski_jupyter.service.runs import LiveRun, ToldRun, end_of_interrupted, from_store
from kowalski_jupyter.service.store.store import Recorded, RunStore

_KEPT: Final = 100
_TAIL_SECONDS: Final = 0.5

Listener = Callable[[Run, Event], None]


class UnknownRunError(LookupError):
    """There is no run of that id."""


class RunBook:
    """Belongs to one event loop.

    Args:
        store: of all of them.
        changed: called at every change of a run.

    Attributes:
        runs: those that are at hand, the oldest first; the store has more.
        store: the same.
    """

    def __init__(self, store: RunStore, changed: Callable[[], None]) -> None:
        self.runs: dict[str, LiveRun] = {}
        self.store = store
        self._changed = changed
        self._tails: set[asyncio.Task[None]] = set()

    def begin(self, run_id: str, listener: Listener = lambda *_: None) -> LiveRun:
        """Begin to keep a run: what is appended to its log is stored and shown, and told to `listener`."""

        def listen(event: Event) -> None:
            live.trace.apply(event)
            self.store.note(live, event)
            self._changed()
            if isinstance(live.run, Run):
                listener(live.run, event)

        live = self.runs[run_id] = LiveRun(ToldRun(run_id, EventLog(listen)), Trace())
        return live

    async def keep(self, run_id: str, answer: Value) -> None:
        """Keep the answer of a run that goes on; its log tells of it after that."""
        await self.store.keep(run_id, answer)
        self.runs[run_id].run.answer = answer

    def find(self, run_id: str) -> LiveRun:
        """Return a run: of this service, or one that is stored.

        Raises:
            UnknownRunError: there is none of that id.
        """
        if run_id not in self.runs:
            events = self.store.events(run_id)
            if not events:
                raise UnknownRunError(f"There is no run {run_id!r} here. `%rlm runs` lists those there are.")
            live = from_store(run_id, events, self.store.answer(run_id))
            if self._end_if_interrupted(live):
                self._tails.add(asyncio.create_task(self._tail(live), name=f"tail of {run_id}"))
            self.runs = {run_id: live, **self.runs}  # the oldest, and so the first to be forgotten
            self.drop_old()
            return live
        return self.runs[run_id]

    def answer(self, run_id: str) -> Value | None:
        """Return a run's answer, if it is known."""
        live = self.runs.get(run_id)
        return self.store.answer(run_id) if live is None else live.answer

    def events(self, run_id: str) -> Sequence[Event]:
        """Return the events of a run so far; none, if there is no such run."""
        try:
            return self.find(run_id).log.events
        except UnknownRunError:
            return ()

    def rows(self) -> list[dict[str, Any]]:
        """Return the newest runs as rows of a list (docs/run-format.md, `IRunSummary`)."""
        return listing(self.runs.values(), self.store.runs(_KEPT))[:_KEPT]

    def drop_old(self) -> None:
        """Forget the oldest runs that have ended, beyond the number that is shown; the store has them."""
        ended = [run_id for run_id, live in self.runs.items() if live.log.finished]
        for run_id in ended[: max(0, len(self.runs) - _KEPT)]:
            del self.runs[run_id]

    async def stop(self) -> None:
        """Cancel all runs, and return when they have ended."""
        tasks = [*self._tails, *(live.task for live in self.runs.values() if live.task is not None)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _end_if_interrupted(self, live: LiveRun) -> bool:
        """Give a stored run the end that it lacks if its process is gone; return whether it goes on elsewhere."""
        stored = self.store.run(live.id)
        going_on = stored is not None and stored.going_on
        if not live.log.finished and not going_on:
            live.log.take(end_of_interrupted(live.id, live.log.events))
        return not live.log.finished

    async def _tail(self, live: LiveRun) -> None:
        """Follow a run that another process is writing."""
        while self._end_if_interrupted(live):
            await asyncio.sleep(_TAIL_SECONDS)
            for event in self.store.events(live.id)[len(live.log.events) :]:
                live.log.take(event)
                if isinstance(event, Answered):
                    live.run.answer = self.store.answer(live.id)
            self._changed()


def say_in(run: Recorded, text: str) -> None:
    """Say something in a run, such as that it is not stored, after what is being written now."""

    def tell() -> None:
        if not run.log.finished:
            run.log.append(Notice(text))

    asyncio.get_running_loop().call_soon(tell)
