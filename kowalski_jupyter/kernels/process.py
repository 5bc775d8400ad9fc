"""The process tree of one kernel: how it starts, what it is held to as a whole, and how it dies completely."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from jupyter_client.connect import KernelConnectionInfo

from .outcome import cause_of_death
from .pipes import read_to_end
from .provisioner import SandboxProvisioner
from .watch import Watch

CLOSED = "the kernel has been closed"
_LAST_OUTPUT_SECONDS = 0.05
"""How long to listen for what a kernel sent before it died."""


class KernelProcess:
    """The processes that `provisioner` starts.

    Attributes:
        provisioner: what starts them.
        death: why they are gone or will be in a moment, in words for the model and the user; "" as long as they live.
    """

    def __init__(self, provisioner: SandboxProvisioner, on_end: Callable[[], None]) -> None:
        self.provisioner = provisioner
        self.death = ""
        self._on_end = on_end
        self._watcher: asyncio.Task[None] | None = None
        self._watch: Watch | None = None
        self._closing = False

    @property
    def folder(self) -> Path:
        """The folder of its connection file and its sockets, by its path outside."""
        return self.provisioner.folder

    async def start(self, command: Callable[[int], list[str]]) -> KernelConnectionInfo:
        """Start it and return where its sockets are, when it has said that it is ready or has ended.

        Args:
            command: Returns the command line; gets the descriptor on which the kernel is to report.

        Raises:
            SandboxMissingError: there is no sandbox here.
            KernelError: the sandbox did not start.
        """
        reader, writer = os.pipe()
        try:
            options = await self.provisioner.pre_launch()
            options["cmd"] = command(writer)
            info = await self.provisioner.launch_kernel(**options, pass_fds=(writer,), stderr=-1)
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        self._watcher = asyncio.create_task(self._await_end())
        if not await read_to_end(reader):
            await self._watcher
        return info

    async def last_words(self) -> str:
        """Return what a process that is gone wrote to its error output at last, or else why it is gone."""
        return await self.provisioner.last_words() or self.death

    def bound(self, memory: int) -> None:
        """Bound what all processes use together, to `memory` bytes besides what every kernel needs."""
        group, first = self.provisioner.cgroup, self.provisioner.inside
        if group is not None:
            group.allow_memory(memory)
        if first is not None:
            used = None if group is None else group.cpu_seconds
            self._watch = Watch(first, used=used, limits=self.provisioner.limits, on_excess=self.kill)
            self._watch.start(memory)

    def kill(self, reason: str) -> None:
        """Kill the whole tree."""
        self.death = self.death or reason
        self.provisioner.kill_now()

    async def close(self) -> None:
        """Kill the whole tree and remove what it had. Returns when nothing is left."""
        self._closing = True
        if self._watch:
            self._watch.stop()
        self.kill(CLOSED)
        if self._watcher:
            await self._watcher
        await self.provisioner.wait()  # a start that was cancelled half-way has no watcher yet
        await self.provisioner.cleanup()

    async def _await_end(self) -> None:
        """Wait for the end of the process and tell of it."""
        status = await self.provisioner.wait()
        if self._watch:
            self._watch.stop()
        if not self._closing:
            await asyncio.sleep(_LAST_OUTPUT_SECONDS)
        if not self.death:
            group = self.provisioner.cgroup
            self.death = cause_of_death(status or 0, out_of_memory=bool(group and group.ran_out_of_memory()))
        self._on_end()
