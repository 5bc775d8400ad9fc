"""The child kernels of one run: one for each language, started when it is first used."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

from kowalski_jupyter.kernels.base import (
    Access,
    Calls,
    CellResult,
    DataItem,
    Function,
    Kernel,
    KernelError,
    Kernels,
    Output,
    PastCell,
)
from kowalski_jupyter.rlm.events import CellFinished, CellOutput, CellStarted, Event, KernelReady

MAIN = "python"
"""The language whose kernel every run has: it starts with the run, and a run cannot be without it."""


class RunKernels:
    """Runs the code of one run, whatever its language.

    Args:
        kernels: where they come from.
        data: what each holds.
        calls: answers what their code asks for.
        functions: what their code may ask for.
        access: what else the user lets it reach.
        seed: where its chances start from.
        emit: takes the events.
        events: all of the run's so far.

    Attributes:
        languages: what can run here, ``python`` first.
    """

    def __init__(
        self,
        kernels: Kernels,
        data: Sequence[DataItem],
        calls: Calls,
        *,
        functions: Collection[Function],
        access: Access,
        seed: int,
        emit: Callable[[Event], None],
        events: Sequence[Event],
    ) -> None:
        self.languages: tuple[str, ...] = (MAIN,)
        self._kernels = kernels
        self._data = data
        self._calls = calls
        self._functions = functions
        self._access = access
        self._seed = seed
        self._emit = emit
        self._events = events
        self._running: dict[str, Kernel] = {}
        self._starting: dict[str, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Start the one for Python, and see which others there are. Raises KernelError if it does not start."""
        others = asyncio.ensure_future(self._kernels.languages())
        try:
            await self._kernel(MAIN)
            self.languages = tuple(await others)
        finally:
            others.cancel()

    async def execute(self, language: str, code: str, on_output: Callable[[Output], None]) -> CellResult:
        """Run one cell in the kernel of its language. One that has died is replaced by a fresh one.

        A language other than Python whose kernel does not start is an error of the cell, for the model to read.

        Raises:
            KernelError: there is no kernel for Python.
        """
        try:
            kernel = await self._kernel(language)
        except KernelError as error:
            if language == MAIN:
                raise
            on_output(Output("error", str(error)))
            return CellResult("error", f"no {language} kernel")
        result = await kernel.execute(code, on_output)
        if result.status == "died":
            del self._running[language]
            await kernel.close()
            if language == MAIN:
                heir = await self._kernel(language)
                await heir.recall(past_cells(self._events, died=result.reason))
        return result

    async def ask_last(self, code: str) -> None:
        """Run a last cell in the kernel for Python, if there is one: no other takes the place of one that dies."""
        if (kernel := self._running.get(MAIN)) is not None:
            await kernel.execute(code, lambda _: None)

    @property
    def mounts(self) -> Sequence[str]:
        """Where code finds what the user has mounted for this run: the same places in every language."""
        return self._running[MAIN].mounts

    def prepare(self, language: str) -> None:
        """Start the kernel of a language that is about to be used. Why it cannot be had is told when it is used."""
        if language not in self._running and language not in self._starting:
            self._starting[language] = task = asyncio.create_task(self._acquire(language))
            task.add_done_callback(lambda task: task.cancelled() or task.exception())

    def stop(self) -> None:
        """Tell of no more kernels: what is still starting is given up."""
        for task in self._starting.values():
            task.cancel()

    async def close(self) -> None:
        """Close all of them."""
        self.stop()
        await asyncio.gather(*self._starting.values(), return_exceptions=True)
        kernels, self._running = [*self._running.values()], {}
        await asyncio.gather(*(kernel.close() for kernel in kernels))

    async def _kernel(self, language: str) -> Kernel:
        if language not in self._running:
            self.prepare(language)
            await asyncio.shield(self._starting[language])
        return self._running[language]

    async def _acquire(self, language: str) -> None:
        try:
            kernel = await self._kernels.acquire(
                language,
                data=self._data,
                calls=self._calls,
                functions=self._functions,
                access=self._access,
                seed=self._seed,
            )
        finally:
            self._starting.pop(language, None)
        self._running[language] = kernel
        self._emit(KernelReady(language, kernel.sandbox))


def past_cells(events: Sequence[Event], *, died: str) -> list[PastCell]:
    """Return the cells in Python that a run has run; `died` says how the last one's kernel ended."""
    codes = {event.cell: event.code for event in events if isinstance(event, CellStarted) and event.language == MAIN}
    outputs: dict[str, list[str]] = {cell: [] for cell in codes}
    deaths = dict.fromkeys([*codes][-1:], died)
    for event in events:
        match event:
            case CellOutput(cell, _, text, omitted) if cell in outputs:
                outputs[cell] += [f"\n… {omitted:,} characters left out …\n" if omitted else "", text]
            case CellFinished(cell, "died", reason) if cell in outputs:
                deaths[cell] = reason
            case _:
                pass
    for cell, reason in deaths.items():
        outputs[cell].append(f"\n(The kernel ended here: {reason}.)")
    return [PastCell(code, "".join(outputs[cell])) for cell, code in codes.items()]
