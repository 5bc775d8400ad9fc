"""One child kernel: starts, loads its run's data, runs cells within their limits, and dies completely."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zmq
from jupyter_client.kernelspec import KernelSpec

from . import access as accesses
from .base import Access, Calls, CellResult, CellStatus, DataItem, Function, KernelError, Limits, Output, PastCell
from .calls import CallServer
from .client import KernelClient
from .deadline import Deadline
from .folders import OwnedFolder
from .limiter import RICH
from .outcome import cause_of_death, last_outputs, output_of
from .pipes import read_to_end
from .provisioner import SandboxProvisioner
from .sandbox import DATA, FILES, FOLDER, PRELUDE, Mount, Python
from .scope import Scope
from .watch import Watch
from .zygote import Zygote

START_SECONDS = 60.0
POLITE_SECONDS = 2.0
"""How long an interrupted cell may take to stop before its kernel is killed."""
_LAST_OUTPUT_SECONDS = 0.05
"""How long to listen for what a kernel sent before it died."""
_FLOOD = 4
"""A kernel that sends this many times the output it may has lost its limiter, and is killed."""

OnOutput = Callable[[Output], None]


@dataclass(slots=True)
class _Cell:
    """The cell that is running."""

    request: str
    on_output: OnOutput
    done: asyncio.Future[None]
    reply: Mapping[str, Any] | None = None
    idle: bool = False
    published: int = 0
    received: int = 0
    stopped_by: CellStatus | None = None
    started: float = field(default_factory=time.monotonic)


class ChildKernel:
    """A Python kernel (see `Kernel` in base.py). `start` it, `load` a run into it, `execute` cells, `close` it."""

    language = "python"

    def __init__(
        self,
        folder: Path,
        *,
        context: zmq.Context[zmq.Socket[bytes]],
        limits: Limits,
        scope: Scope,
        python: str,
        unsandboxed: bool,
        items: Sequence[DataItem],
        access: Access,
        on_closed: Callable[[ChildKernel], None],
    ) -> None:
        self._data = folder
        self._context = context
        self._limits = limits
        self._scope = scope
        self._unsandboxed = unsandboxed
        self._python = python
        self._access = access
        self._granted = accesses.mounts(access, [item.name for item in items])
        self._mounts = [
            *(Mount(item.source.resolve(), f"{FILES}/{item.name}/{item.source.name}") for item in items if item.source),
            *self._granted,
            *(accesses.network() if access.net else ()),
        ]
        self._owned: OwnedFolder | None = None
        self._provisioner: SandboxProvisioner | None = None
        self._client: KernelClient | None = None
        self._calls: CallServer | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._watch: Watch | None = None
        self._cell: _Cell | None = None
        self._deadline: Deadline | None = None
        self._kill_timer: asyncio.TimerHandle | None = None
        self._interrupt: asyncio.Future[Mapping[str, Any]] | None = None
        self._pending: dict[str, asyncio.Future[Mapping[str, Any]]] = {}
        self._listening: asyncio.Event = asyncio.Event()
        self._death: str | None = None
        self._on_closed = on_closed
        self._closing: asyncio.Task[None] | None = None

    @property
    def forks(self) -> bool:
        """Whether it may be forked from a zygote."""
        return True

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self._death is None

    @property
    def sandbox(self) -> str:
        """What confines this kernel, in words for the user."""
        return "none: unsandboxed by your setting" if self._unsandboxed else accesses.description(self._access)

    @property
    def mounts(self) -> Sequence[str]:
        """See `Kernel.mounts`."""
        return [str(mount.source) if self._unsandboxed else mount.target for mount in self._granted]

    async def start(self, zygote: Zygote | None = None) -> None:
        """Start the process, by forking `zygote` if there is one, and wait until it can take a cell.

        Raises:
            SandboxMissingError: there is no sandbox here.
            KernelError: it did not start.
        """
        self._make_folder()
        reader, writer = os.pipe()
        prelude = str(Path(__file__).parent / "prelude") if self._unsandboxed else PRELUDE
        python = Python.probe(self._python)
        site = [str(python.user_site)] if python.user_site else []
        self._provisioner = SandboxProvisioner(
            kernel_spec=KernelSpec(
                argv=[python.executable, "-I", prelude, "{connection_file}", str(writer), *site], language="python"
            ),
            limits=self._limits,
            mounts=[Mount(self._data, DATA), *self._mounts],
            net=self._access.net,
            unsandboxed=self._unsandboxed,
        )
        self._provisioner.scope = self._scope
        self._provisioner.zygote = zygote if zygote and zygote.shows(self._mounts) else None
        try:
            options = await self._provisioner.pre_launch()
            try:
                info = await self._provisioner.launch_kernel(**options, pass_fds=(writer,), stderr=-1)
            finally:
                os.close(writer)
            self._watcher = asyncio.create_task(self._await_end())
            async with asyncio.timeout(START_SECONDS):
                if not await read_to_end(reader):
                    await self._watcher
                    raise KernelError(f"The child kernel did not start. {await self._provisioner.last_words()}")
                self._client = KernelClient(self._context, info, self._on_message)
                await self._greet()
        except TimeoutError:
            raise KernelError(f"The child kernel did not start within {START_SECONDS:.0f} s.") from None

    def _make_folder(self) -> None:
        """Make the folder that the kernel's data is in."""
        self._data.mkdir(parents=True, mode=0o700)
        self._owned = OwnedFolder(self._data)

    async def load(self, items: Sequence[DataItem], calls: Calls, functions: Collection[Function]) -> None:
        """Give the kernel its data, the way to its run, and the functions that the run allows.

        Raises:
            KernelError: the data could not be loaded.
        """
        assert self._provisioner is not None  # noqa: S101 - started
        inside = self._provisioner.folder if self._unsandboxed else Path(FOLDER)
        self._calls = CallServer(self._provisioner.folder / "calls.sock", calls, self._on_busy, functions)
        await self._calls.start()
        size = sum(item.size for item in items if item.kind != "path")
        self._bound(self._limits.memory + size)
        content = {
            "items": [self._hand_over(number, item) for number, item in enumerate(items)],
            "socket": str(inside / "calls.sock"),
            "token": self._calls.token,
            "functions": list(functions),
            "limits": self._process_limits(size),
        }
        reply = await self._request("load_request", content)
        if reply.get("status") != "ok":
            problem = str(reply.get("evalue", "")).splitlines() or [self._death or ""]
            raise KernelError(f"The child kernel could not load the data: {problem[-1]}")

    async def recall(self, cells: Sequence[PastCell]) -> None:
        """See `Kernel.recall`."""
        for cell in cells:  # one by one: all together may be large
            await self._request("recall_request", {"code": cell.code, "output": cell.output})

    def _bound(self, memory: int) -> None:
        """Bound what all processes use together, to `memory` bytes besides what every kernel needs."""
        assert self._provisioner is not None  # noqa: S101 - started
        group, first = self._provisioner.cgroup, self._provisioner.inside
        if group is not None:
            group.allow_memory(memory)
        if first is not None:
            used = None if group is None else group.cpu_seconds
            self._watch = Watch(first, used=used, limits=self._limits, on_excess=self._kill)
            self._watch.start(memory)

    async def execute(self, code: str, on_output: OnOutput) -> CellResult:
        """Run one cell; see `Kernel.execute`."""
        return await self._execute(code, on_output, self._limits.cell_seconds)

    async def _execute(self, code: str, on_output: OnOutput, seconds: float) -> CellResult:
        assert self._calls is not None  # noqa: S101 - loaded
        if self._cell is not None:
            await asyncio.wait([self._cell.done])
        if self._interrupt is not None:  # one that comes too late for its own cell must not hit this one
            await asyncio.wait([self._interrupt], timeout=POLITE_SECONDS)
            self._interrupt = None
        if self._death is not None or self._client is None:
            return CellResult("died", self._death or "the kernel has been closed")
        loop = asyncio.get_running_loop()
        self._calls.resume()
        self._deadline = Deadline(seconds, self._on_deadline)
        request = self._client.send("shell", "execute_request", self._content(code))
        cell = self._cell = _Cell(request, on_output, loop.create_future())
        try:
            await asyncio.shield(cell.done)
        except asyncio.CancelledError:
            cell.on_output = _ignore
            self._calls.stop()
            self._stop_cell("interrupted")
            raise
        return self._result(cell)

    def _content(self, code: str) -> Mapping[str, Any]:
        """Return the content of the request to run `code`."""
        return {"code": code}

    async def close(self) -> None:
        """Kill the process tree, close the sockets, remove the files. A cancelled caller does not stop it."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if self._watch:
            self._watch.stop()
        self._kill("the kernel has been closed")
        if self._calls:
            await self._calls.close()
        if self._client:
            self._client.close()
            self._client = None
        if self._watcher:
            await self._watcher
        if self._provisioner:
            await self._provisioner.wait()  # a start that was cancelled half-way has no watcher yet
            await self._provisioner.cleanup()
            self._provisioner = None
        if self._owned:
            self._owned.remove()
            self._owned = None
        self._on_closed(self)

    # -- data ------------------------------------------------------------------------------------------

    def _hand_over(self, number: int, item: DataItem) -> dict[str, Any]:
        """Show an item's file to the kernel and return what the prelude has to know of it."""
        if item.source is not None:
            inside = item.source.resolve() if self._unsandboxed else Path(FILES, item.name, item.source.name)
        else:
            assert item.path is not None  # noqa: S101 - every other kind has a file
            name = f"{number}-{item.kind}"
            try:
                os.link(item.path, self._data / name)  # the run keeps its own, for another kernel
            except OSError:  # another disk, or one that has no links
                shutil.copyfile(item.path, self._data / name)
            inside = (self._data if self._unsandboxed else Path(DATA)) / name
        return {"name": item.name, "kind": item.kind, "path": str(inside), "meta": dict(item.meta)}

    def _process_limits(self, data: int) -> dict[str, int]:
        confined = {"AS": self._limits.memory + data, **self._limits.of_a_process()}
        if self._unsandboxed:
            del confined["NPROC"]  # outside of a user namespace of its own, all of the user's processes would count
        return {"output": self._limits.output, **confined}

    # -- messages --------------------------------------------------------------------------------------

    async def _greet(self) -> None:
        """Ask until an answer comes on both channels: a subscription takes effect some time after it is made."""
        while not self._listening.is_set():
            await self._request("kernel_info_request", {})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._listening.wait(), 0.001)

    async def _request(self, message_type: str, content: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send a request on the shell channel and return its reply's content; empty if the kernel dies."""
        if self._client is None or self._death is not None:
            return {}
        return await self._reply_to(self._client.send("shell", message_type, content))

    def _reply_to(self, request: str) -> asyncio.Future[Mapping[str, Any]]:
        """Return the future reply to a request that has been sent."""
        future: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._pending[request] = future
        future.add_done_callback(lambda _done: self._pending.pop(request, None))
        return future

    def _on_message(self, channel: str, message: dict[str, Any]) -> None:
        parent, content = message["parent_header"].get("msg_id"), message["content"]
        if channel == "iopub":
            self._listening.set()
        if channel != "iopub" and parent in self._pending and not self._pending[parent].done():
            self._pending[parent].set_result(content)
        cell = self._cell
        if cell is None or parent != cell.request:
            return
        if channel == "shell":
            cell.reply = content
        elif channel == "iopub" and message["msg_type"] == "status":
            cell.idle = content.get("execution_state") == "idle"
        elif channel == "iopub":
            cell.published += 1
            self._take_output(cell, message)
        if cell.reply is not None and (cell.idle or cell.published == cell.reply.get("published")):
            for last in last_outputs(cell.reply):
                self._take_output(cell, last)
            self._complete()

    def _take_output(self, cell: _Cell, message: Mapping[str, Any]) -> None:
        output = output_of(message)
        if output is None:
            return
        cell.received += len(output.text) + (len(output.rich.data) if output.rich else 0)
        if cell.received > _FLOOD * self._limits.output + RICH + (1 << 20):
            self._kill("it sent far more output than it may")
        else:
            cell.on_output(output)

    # -- the running cell ------------------------------------------------------------------------------

    def _complete(self) -> None:
        """The cell has ended by itself, and everything that belongs to it has come."""
        self._finish()

    def _finish(self) -> None:
        """The cell has ended, or its kernel has."""
        cell, self._cell = self._cell, None
        if self._deadline is not None:
            self._deadline.cancel()
        if self._kill_timer is not None:
            self._kill_timer.cancel()
            self._kill_timer = None
        if cell is not None and not cell.done.done():
            cell.done.set_result(None)

    def _result(self, cell: _Cell) -> CellResult:
        seconds = time.monotonic() - cell.started
        reply = cell.reply or {}
        names = tuple(name for name in reply.get("names", ()) if isinstance(name, str) and name.isidentifier())
        assert self._calls is not None  # noqa: S101 - a cell has run
        if self._calls.final:
            return CellResult("final", seconds=seconds, names=names)
        if cell.reply is None:
            return CellResult("died", self._death or "the kernel has been closed", seconds)
        if cell.stopped_by == "timeout":
            limit = f"{self._limits.cell_seconds:g} s"
            reason = f"the cell was interrupted at its limit of {limit}; its variables are kept"
            return CellResult("timeout", reason, seconds, names)
        if cell.stopped_by == "interrupted":
            return CellResult("interrupted", "the cell was interrupted", seconds, names)
        if reply.get("status") != "ok":
            return CellResult("error", str(reply.get("ename", ""))[:200], seconds, names)
        return CellResult("ok", seconds=seconds, names=names)

    def _on_busy(self, busy: bool) -> None:
        """The run has begun or finished to work for the cell: that time is not the cell's."""
        if self._deadline is not None:
            if busy:
                self._deadline.pause()
            else:
                self._deadline.resume()

    def _on_deadline(self) -> None:
        self._stop_cell("timeout")

    def _stop_cell(self, status: CellStatus) -> None:
        """Interrupt the running cell; kill the kernel if that does not end it."""
        if self._cell is None or self._client is None or self._cell.stopped_by is not None:
            return
        self._cell.stopped_by = status
        self._ask_to_stop()
        why = f"its limit of {self._limits.cell_seconds:g} s" if status == "timeout" else "an interrupt"
        reason = f"the cell did not stop at {why}, so its kernel was ended; all variables are gone"
        self._kill_timer = asyncio.get_running_loop().call_later(POLITE_SECONDS, self._kill, reason)

    def _ask_to_stop(self) -> None:
        """Interrupt what the kernel does."""
        assert self._client is not None  # noqa: S101 - a cell is running
        self._interrupt = self._reply_to(self._client.send("control", "interrupt_request", {}))

    def _kill(self, reason: str) -> None:
        self._death = self._death or reason
        if self._provisioner is not None:
            self._provisioner.kill_now()

    async def _await_end(self) -> None:
        """Wait for the end of the process and tell everyone who waits for it."""
        assert self._provisioner is not None  # noqa: S101 - started
        status = await self._provisioner.wait()
        if self._watch:
            self._watch.stop()
        if self._cell is not None and self._closing is None:
            await asyncio.sleep(_LAST_OUTPUT_SECONDS)
        if self._death is None:
            cgroup = self._provisioner.cgroup
            self._death = cause_of_death(status or 0, out_of_memory=bool(cgroup and cgroup.ran_out_of_memory()))
        for future in [*self._pending.values()]:
            if not future.done():
                future.set_result({})
        self._finish()


def _ignore(_output: Output) -> None:
    """Drop the output of a cell that nobody waits for."""
