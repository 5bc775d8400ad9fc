"""Forks child kernels from a process that has everything imported (prelude/zygote.py is its inside).

A fork takes a tenth of a cold start's processor time, and shares two thirds of the memory. The sandbox is made by the
same command line either way.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from . import seccomp
from .base import KernelError
from .cgroup import Cgroup
from .pipes import read_to_end
from .sandbox import HOME, HOST, PLAIN, PRELUDE, PRELUDES, WORK, Bubblewrap, Mount, Python, environment

START_SECONDS = 30.0
HOLDER = ("/bin/sh", "-c", "echo; read -r _")
"""What bubblewrap starts in a forked kernel's sandbox: it says that all is set up, and stays until its input ends."""
_INTERPRETER = 2
"""What a fork needs no more of a kernel's command line: ``python`` and its options, in one word."""
_PROGRAMS = ("launch.py", "bash_kernel.py")
"""What kernels in Python but for other languages run."""
INFO = 3
"""The descriptor on which bubblewrap, started by a kernel's guard, tells of that process (as prelude/zygote.py has it).
"""


class ZygoteError(KernelError):
    """There is no zygote, or it could not do it. A cold start may."""


class Fork:
    """A fork that waits in its sandbox for what it is to become, and then is a kernel.

    It has the form of a `subprocess.Popen`, and counts as alive until its guard has ended as well.

    Args:
        guard: What the guard reads its order from and writes the kernel's exit status to. Its end is the guard's.
        stderr: What the kernel writes to its error output.
    """

    def __init__(self, guard: socket.socket, stderr: int) -> None:
        guard.setblocking(False)
        self._guard = guard
        self.stderr = os.fdopen(stderr, "rb", 0)
        self._report = b""
        self._code: int | None = None

    def fileno(self) -> int:
        """Return the descriptor from which something can be read when it has ended."""
        return self._guard.fileno()

    def begin(self, command: Sequence[str], passed: Sequence[int]) -> None:
        """Have it become a kernel as soon as it is in its sandbox.

        Args:
            command: What a kernel that starts from nothing runs: ``python OPTIONS PROGRAM …``.
            passed: Descriptors that the kernel gets, with the same numbers.

        Raises:
            ZygoteError: it is gone.
        """
        order = {"command": [*command[_INTERPRETER:]], "descriptors": [*passed]}
        try:
            socket.send_fds(self._guard, [json.dumps(order).encode()], passed)
        except OSError as error:
            raise ZygoteError(f"The fork cannot be told what to become: {error}") from error

    def abandon(self) -> None:
        """Let it end, if it waits for an order."""
        with contextlib.suppress(OSError):  # it has ended
            self._guard.shutdown(socket.SHUT_WR)

    def poll(self) -> int | None:
        """Return the exit status (minus the signal, if one ended it), or None as long as it is alive."""
        with contextlib.suppress(BlockingIOError):
            while self._code is None:
                try:
                    piece = self._guard.recv(16)
                except ConnectionResetError:  # it was killed before it had read its order
                    piece = b""
                self._report += piece
                if not piece:  # a guard that was killed has told nothing, and its kernel is killed with it
                    self._code = int(self._report or -signal.SIGKILL)
                    self._guard.close()
        return self._code


class Zygote:
    """One process to fork kernels from. It is started when it is first needed, and serves until it is closed."""

    def __init__(self, python: Python) -> None:
        self._python = python
        self._started: asyncio.Task[None] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None
        self._root = ""
        self.process = 0
        """Its process id, once it is started."""

    async def start(self) -> None:
        """Start the process, once, and wait until it can fork.

        Raises:
            ZygoteError: it cannot be had here, now or ever.
        """
        if self._started is None:
            self._started = asyncio.create_task(self._start())
        await asyncio.wait([self._started])
        if self._started.cancelled():
            raise ZygoteError("The zygote has been closed.")
        self._started.result()

    @property
    def alive(self) -> bool:
        """Whether the process is there, or has not been started yet."""
        return self._process is None or self._process.poll() is None

    def shows(self, mounts: Sequence[Mount]) -> bool:
        """Return whether the zygote sees the very same files: disks may have been mounted since it was started."""
        try:
            return all(mount.source.samefile(f"{self._root}{mount.source.resolve()}") for mount in mounts)
        except OSError:
            return False

    def fork(self, line: Sequence[str], *, info: int, cgroup: Cgroup | None) -> Fork:
        """Ask for a fork and return it. That it is in its sandbox is told on `info`.

        Args:
            line: The command line that makes the sandbox, for whoever sees the host below `HOST`.
            info: Where the process id of the sandbox's first process is told, in bubblewrap's form.
            cgroup: The group that it enters.

        Raises:
            ZygoteError: the zygote is gone.
        """
        if self._requests is None:
            raise ZygoteError("The zygote has been closed.")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        errors, errors_writer = os.pipe()
        fork = Fork(ours, errors)
        request = {
            "sandbox": [*line],
            "environment": environment(HOME) | {"PWD": WORK},
            "seccomp": seccomp.program().hex(),
        }
        entrances: list[int] = []
        try:
            entrances += cgroup.entrances() if cgroup else []
            descriptors = [errors_writer, info, theirs.fileno(), *entrances]
            socket.send_fds(self._requests, [json.dumps(request).encode()], descriptors)
        except OSError as error:
            fork.stderr.close()
            ours.close()
            raise ZygoteError(f"The zygote cannot be asked: {error}") from error
        finally:
            theirs.close()
            for descriptor in (errors_writer, *entrances):
                os.close(descriptor)
        return fork

    async def close(self) -> None:
        """End the process, and with it all kernels that it has forked. Returns when it is gone."""
        if self._started is not None:
            self._started.cancel()
            await asyncio.wait([self._started])
        if self._requests is not None:
            self._requests.close()
            self._requests = None
        if self._process is not None and self.alive:
            # The whole group at once, guards as well: one by one they leave behind what bubblewrap has not finished.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process or self._process.pid, signal.SIGKILL)
        while self._process is not None and self._process.poll() is None:  # noqa: ASYNC110 - some milliseconds
            await asyncio.sleep(0.005)

    async def _start(self) -> None:
        try:
            bubblewrap = Bubblewrap.find()
            if not bubblewrap.can_nest:
                raise ZygoteError("this system lets no sandbox be made from within another")
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.setblocking(False)
            self._requests = ours
            reader, writer = os.pipe()
            programs = {str(PRELUDES / name): f"{HOST}{(PRELUDES / name).resolve()}" for name in _PROGRAMS}
            options = ["--zygote", str(theirs.fileno()), json.dumps(programs)]
            command = [self._python.executable, PLAIN, PRELUDE, *options]
            line = bubblewrap.zygote(command, python=self._python, info=writer)
            quiet = subprocess.DEVNULL
            try:
                self._process = subprocess.Popen(  # noqa: ASYNC220 - returns at once
                    line,
                    stdin=quiet,
                    stdout=quiet,
                    stderr=quiet,
                    env={},
                    pass_fds=(writer, theirs.fileno()),
                    start_new_session=True,
                )
            finally:
                os.close(writer)
                theirs.close()
            first = json.loads(await read_to_end(reader))["child-pid"]
            self.process = first
            self._root = f"/proc/{first}/root{HOST}"
            async with asyncio.timeout(START_SECONDS):
                if not await asyncio.get_running_loop().sock_recv(ours, 16):
                    raise ZygoteError("The zygote did not start.")
        except (OSError, ValueError, LookupError, KernelError) as error:
            raise ZygoteError(f"The zygote did not start: {error}") from error


def supported() -> bool:
    """Return whether this system has what forking takes."""
    return hasattr(os, "pidfd_open") and Path("/proc/self/ns/pid").exists()
