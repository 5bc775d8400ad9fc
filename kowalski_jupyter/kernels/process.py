"""The process tree of one kernel: how it starts, what it is held to as a whole, and how it dies completely."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import zmq
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.kernelspec import KernelSpec

from .base import Limits
from .handover import DataFolder
from .outcome import cause_of_death
from .provisioner import SandboxProvisioner
from .sandbox import Mount, Python
from .scope import Scope
from .watch import Watch
from .zygote import Zygote

WAS_CLOSED = "the kernel has been closed"
_READY = b"ready"
_LAST_OUTPUT_SECONDS = 0.05
"""How long to listen for what a kernel sent before it died."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What the kernels of a pool have in common."""

    context: zmq.Context[zmq.Socket[bytes]]
    limits: Limits
    scope: Scope
    python: str
    unsandboxed: bool


class KernelProcess:
    """One kernel's process tree, with the folder that its data is in.

    Attributes:
        death: why it is gone or will be in a moment, in words for the model and the user; "" as long as it lives.
    """

    def __init__(
        self, folder: Path, setup: Setup, mounts: Sequence[Mount], *, net: bool = False, zygote: Zygote | None = None
    ) -> None:
        self.death = ""
        self.data = DataFolder(folder, as_it_is=setup.unsandboxed)
        self.provisioner = SandboxProvisioner(
            kernel_spec=KernelSpec(argv=[]),  # each says its command itself
            limits=setup.limits,
            mounts=[self.data.make(), *mounts],
            net=net,
            unsandboxed=setup.unsandboxed,
        )
        self.provisioner.scope = setup.scope
        if zygote is not None and zygote.shows(self.provisioner.mounts):
            self.provisioner.zygote = zygote
        self._socket: socket.socket | None = None
        self._on_end: Callable[[], None] = _nothing
        self._watcher: asyncio.Task[None] | None = None
        self._watch: Watch | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        """Whether it is there."""
        return not self.death

    @property
    def forks(self) -> bool:
        """Whether it is forked from a zygote."""
        return self.provisioner.zygote is not None

    @property
    def folder(self) -> Path:
        """The folder of its connection file and its sockets, by its path outside."""
        return self.provisioner.folder

    async def wait_in_sandbox(self, python: Python) -> None:
        """Have the sandbox made by the zygote, where a fork of its waits to become a kernel.

        Raises:
            KernelError: the sandbox did not start.
        """
        await self.provisioner.pre_launch()
        await self.provisioner.wait_in_sandbox(python)
        self._watcher = asyncio.create_task(self._await_end())

    async def start(self, command: Callable[[int], list[str]], on_end: Callable[[], None]) -> KernelConnectionInfo:
        """Start the kernel and return where its sockets are, when it has said that it is ready or has ended.

        Args:
            command: Returns the command line; gets the descriptor on which the kernel is to report (`_READY`).
            on_end: Called when it has ended.

        Raises:
            SandboxMissingError: there is no sandbox here.
            KernelError: the sandbox did not start.
        """
        self._on_end = on_end
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            with theirs:
                if self._watcher is None:
                    await self.provisioner.pre_launch()
                line = command(theirs.fileno())
                info = await self.provisioner.launch_kernel(line, pass_fds=(theirs.fileno(),), stderr=-1)
            if self._watcher is None:
                self._watcher = asyncio.create_task(self._await_end())
            if not await asyncio.get_running_loop().sock_recv(ours, len(_READY)):
                await self._watcher
        except BaseException:
            ours.close()
            raise
        if self.alive:
            self._socket = ours
        else:
            ours.close()
        return info

    def hand_over_socket(self) -> socket.socket:
        """Return the other end of the socket on which the kernel has reported: whoever gets it closes it."""
        assert self._socket is not None  # noqa: S101 - started
        handed, self._socket = self._socket, None
        return handed

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
        """Kill the whole tree and remove what it had. Returns when nothing is left.

        A cancelled caller does not stop it.
        """
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if self._watch:
            self._watch.stop()
        self.kill(WAS_CLOSED)
        if self._watcher:
            await self._watcher
        await self.provisioner.wait()  # a start that was cancelled half-way has no watcher yet
        await self.provisioner.cleanup()
        self.data.remove()
        if self._socket:
            self._socket.close()

    async def _await_end(self) -> None:
        """Wait for the end of the process and tell of it."""
        status = await self.provisioner.wait()
        if self._watch:
            self._watch.stop()
        if self._closing is None:
            await asyncio.sleep(_LAST_OUTPUT_SECONDS)
        if not self.death:
            group = self.provisioner.cgroup
            self.death = cause_of_death(status or 0, out_of_memory=bool(group and group.ran_out_of_memory()))
        self._on_end()


def _nothing() -> None:
    """Tell nobody: no kernel is there yet."""
