"""What all child kernels have in common: how one starts, runs cells within their limits, and dies completely."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import access as accesses
from .base import Access, Calls, CellResult, CellStatus, DataItem, Function, KernelError, Output, PastCell
from .calls import CallServer
from .cell import Cell, OnOutput
from .dialogue import Dialogue
from .handover import DataFolder, mounts
from .outcome import output_of
from .prelude.landlock import Reach
from .process import WAS_CLOSED, KernelProcess, Setup
from .sandbox import FOLDER, Mount
from .wire import BadRequestError

POLITE_SECONDS = 2.0
"""How long an interrupted cell may take to stop before its kernel is killed."""

Make = Callable[[Sequence[Mount]], Awaitable[KernelProcess]]
"""Makes the process of a kernel, to which so much is shown."""


class ChildKernel(ABC):
    """A kernel (see `Kernel` in base.py). `start` it, `load` a run into it, `execute` cells, `close` it.

    A subclass says by which command it starts, how it takes its data in, and what it does with outputs.
    """

    language: str
    title: str
    seconds_to_start: float
    in_lines = False
    """Whether it takes its requests on the socket on which it reports, as kernels of ours may, and not by ZMQ."""

    def __init__(
        self, setup: Setup, items: Sequence[DataItem], access: Access, on_closed: Callable[[ChildKernel], None]
    ) -> None:
        self._context = setup.context
        self._limits = setup.limits
        self._python = setup.python
        self._unsandboxed = setup.unsandboxed
        self._on_closed = on_closed
        self._access = access
        self._granted = accesses.mounts(access, [item.name for item in items])
        self._mounts = [*mounts(items), *self._granted, *(accesses.network() if access.net else ())]
        self._process: KernelProcess | None = None
        self._dialogue: Dialogue | None = None
        self._calls: CallServer | None = None
        self._seed = 0
        self._cell: Cell | None = None
        self._closing: asyncio.Task[None] | None = None

    # -- what a subclass says ----------------------------------------------------------------------------

    @property
    @abstractmethod
    def forks(self) -> bool:
        """Whether it is in Python, so that the zygote may become it."""

    def _toolchain(self) -> Sequence[Mount]:
        """Return what the kernel needs and the sandbox does not show yet."""
        return ()

    @abstractmethod
    def _command(self, ready: int) -> list[str]:
        """Return the command line of the kernel, which is to report on the descriptor `ready`."""

    @abstractmethod
    def _memory(self, items: Sequence[DataItem]) -> int:
        """Return how many bytes all processes may use together, besides what every kernel needs."""

    @abstractmethod
    async def _take_in(self, items: Sequence[DataItem], functions: Collection[Function]) -> str:
        """Give the kernel its data and the way to its run; return why it could not take them, or ""."""

    @abstractmethod
    def _take_output(self, cell: Cell, output: Output) -> None:
        """Hand an output on, within limits."""

    @abstractmethod
    async def recall(self, cells: Sequence[PastCell]) -> None:
        """See `Kernel.recall`."""

    # -- its life ----------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return not self._death

    @property
    def _death(self) -> str:
        """Why it is not."""
        return self._process.death if self._process else ""

    @property
    def sandbox(self) -> str:
        """What confines this kernel, in words for the user."""
        return "none: unsandboxed by your setting" if self._unsandboxed else accesses.description(self._access)

    @property
    def mounts(self) -> Sequence[str]:
        """See `Kernel.mounts`."""
        return [str(mount.source) if self._unsandboxed else mount.target for mount in self._granted]

    async def start(self, make: Make) -> None:
        """Start the process and wait until it can take a cell.

        Args:
            make: Makes the process.

        Raises:
            SandboxMissingError: there is no sandbox here.
            KernelError: it did not start.
        """
        process = self._process = await make([*self._toolchain(), *self._mounts])
        try:
            async with asyncio.timeout(self.seconds_to_start):
                info = await process.start(self._command, self._on_end)
                if self.alive:
                    line = process.hand_over_socket() if self.in_lines else None
                    self._dialogue = Dialogue(self._context, info, self._on_message, line, self._on_nonsense)
                    await self._dialogue.greet()
        except TimeoutError:
            raise KernelError(f"The {self.title} kernel did not start within {self.seconds_to_start:g} s.") from None
        if not self.alive:
            raise KernelError(f"The {self.title} kernel did not start. {await process.last_words()}")
        process.provisioner.drain()

    async def warm_up(self) -> None:  # noqa: B027 - most have nothing to do
        """Do what makes the first cell quicker. For a kernel that is going to wait for its run."""

    async def load(
        self, items: Sequence[DataItem], calls: Calls, functions: Collection[Function], *, seed: int = 0
    ) -> None:
        """Give the kernel its data, the way to its run, the functions that the run allows, and the seed of its chances.

        Raises:
            KernelError: the data could not be loaded.
        """
        assert self._process is not None  # noqa: S101 - started
        self._calls = CallServer(self._process.folder / "calls.sock", calls, self._on_busy, functions)
        await self._calls.start()
        self._process.bound(self._memory(items))
        self._seed = seed
        if problem := await self._take_in(items, functions):
            raise KernelError(f"The {self.title} kernel could not load the data: {problem}")

    async def close(self) -> None:
        """Kill the process tree, close the sockets, remove the files. A cancelled caller does not stop it."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if self._calls:
            self._calls.stop()
        if self._process:
            await self._process.close()
        if self._dialogue:
            self._dialogue.close()
            self._dialogue = None
        if self._calls:
            await self._calls.close()
        self._on_closed(self)

    def _kill(self, reason: str) -> None:
        assert self._process is not None  # noqa: S101 - started
        self._process.kill(reason)

    def _on_nonsense(self) -> None:
        self._kill("it sent something else than the replies that it owes")

    def _on_end(self) -> None:
        """Tell everyone who waits for the process that it is gone."""
        if self._dialogue:
            self._dialogue.end()
        self._finish()

    # -- what it is shown --------------------------------------------------------------------------------

    @property
    def _reach(self) -> Reach:
        """What its code may reach, as what confines it from within is told."""
        return "everything" if self._unsandboxed else accesses.reach(self._access)

    @property
    def _inside(self) -> Path:
        """Where the kernel finds its own folder."""
        assert self._process is not None  # noqa: S101 - starting
        return self._process.folder if self._unsandboxed else Path(FOLDER)

    @property
    def _data(self) -> DataFolder:
        assert self._process is not None  # noqa: S101 - started
        return self._process.data

    def _enforceable(self, limits: Mapping[str, int]) -> dict[str, int]:
        """Return the limits of a process without those that would hold the user as well."""
        # Outside of a user namespace of its own, all of the user's processes would count.
        return {name: value for name, value in limits.items() if name != "NPROC" or not self._unsandboxed}

    # -- the running cell --------------------------------------------------------------------------------

    async def execute(self, code: str, on_output: OnOutput) -> CellResult:
        """Run one cell; see `Kernel.execute`."""
        return await self._run(code, on_output, self._limits.cell_seconds)

    async def _run(self, code: str, on_output: OnOutput, seconds: float) -> CellResult:
        assert self._calls is not None  # noqa: S101 - loaded
        if self._cell is not None:
            await asyncio.wait([self._cell.done])
        if self._dialogue is not None:
            await self._dialogue.settle(POLITE_SECONDS)
        if self._death or self._dialogue is None:
            return CellResult("died", self._death or WAS_CLOSED)
        self._calls.resume()
        request = self._dialogue.execute(code)
        cell = self._cell = Cell(request, on_output, seconds, self._on_deadline)
        try:
            await cell.done
        except asyncio.CancelledError:
            cell.let_go()
            self._calls.stop()
            self._stop_cell("interrupted")
            raise
        if cell.answer is not None:
            await self._calls.take_final(cell.answer)
        return cell.result(self._death, final=self._calls.final)

    def _on_message(self, channel: str, message: dict[str, Any]) -> None:
        if (cell := self._cell) is None or message["parent_header"].get("msg_id") != cell.request:
            return
        try:
            carriers = cell.take(channel, message)
        except BadRequestError:
            cell.request = ""  # nothing that comes now is believed to be its reply
            self._on_nonsense()
            return
        for carrier in carriers:
            if output := output_of(carrier):
                self._take_output(cell, output)
        if cell.complete:
            self._complete()

    def _complete(self) -> None:
        """The cell has ended by itself, and everything that belongs to it has come."""
        self._finish()

    def _finish(self) -> None:
        """The cell has ended, or its kernel has."""
        cell, self._cell = self._cell, None
        if cell is not None:
            cell.end()

    def _on_busy(self, busy: bool) -> None:
        """The run has begun or finished to work for the cell: that time is not the cell's."""
        if self._cell is not None:
            self._cell.deadline.pause() if busy else self._cell.deadline.resume()

    def _on_deadline(self) -> None:
        self._stop_cell("timeout")

    def _stop_cell(self, status: CellStatus) -> None:
        """Interrupt the running cell; kill the kernel if that does not end it."""
        if self._cell is not None and self._dialogue is not None and self._cell.stopped_by is None:
            self._cell.stop(status, within=POLITE_SECONDS, kill=self._kill)
            self._ask_to_stop()

    def _ask_to_stop(self) -> None:
        """Interrupt what the kernel does."""
        assert self._dialogue is not None  # noqa: S101 - a cell is running
        self._dialogue.interrupt()
