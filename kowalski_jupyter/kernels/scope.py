"""One control group that the user's own systemd manager hands to this process, to make the kernels' groups in.

Under version 2 a user may only divide a group that was delegated. A terminal's is not, and that of a session over SSH
or on a console is not even the user's. So the manager is asked, once and in the background, for a scope: a group that
it leaves alone. Its one process moves on into a group below, since a group with processes passes no controllers on,
and waits for the end of its input, which comes with this service's end, whatever that is. Then the manager removes the
scope with all that is in it.

A process may enter a group where the user may write to the nearest group above both, and so may whatever the manager
has started. What comes from a session has to be let in by the manager.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import subprocess
from pathlib import Path

from .base import Limits
from .cgroup import CONTROLLERS, Cgroup, Place, group_of, unified
from .pipes import read_to_end

SECONDS = 2
"""How long the manager may take for anything."""
_HOLDER = "holder"
_ORDER = """
IFS=: read -r _ _ path < /proc/self/cgroup && cd "{root}$path" && mkdir {holder} && echo 0 > {holder}/cgroup.procs &&
    echo "{controllers}" > cgroup.subtree_control && pwd && cd / && exec >&- || exit
"""
"""What the process in the scope is told. Then it waits to be told more."""
_MANAGER = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
_log = logging.getLogger(__name__)


class Scope:
    """The group of one service. Where none can be had, and until then, there is no place in it."""

    def __init__(self) -> None:
        self._unit = f"kowalski-{os.getpid()}-{secrets.token_hex(6)}.scope"
        self._folder: Path | None = None
        self._holder: subprocess.Popen[bytes] | None = None
        self._starting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Ask for the group, in the background. Only the first time counts."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())

    async def started(self) -> None:
        """Wait until there is a group, or it is known that there will be none."""
        if self._starting is not None:
            await asyncio.wait([self._starting])

    def place(self, process: int) -> Place | None:
        """Return where to make a group for what `process` starts; None if that could not enter it."""
        if self._folder is None:
            return None
        if _may_enter(process, self._folder):
            return Place([self._folder])
        # Another process than this one starts kernels too fast to have each let in: see `admit`.
        return Place([self._folder], self._letting_in) if process == os.getpid() else None

    async def admit(self, process: int) -> None:
        """Have a process let in, so that what it starts can enter any group here by itself."""
        if self._folder is None or _may_enter(process, self._folder):
            return
        command = [*self._letting_in(_HOLDER), str(process)]
        await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
        if self._folder is not None and not _may_enter(process, self._folder):
            self.give_up()

    def give_up(self) -> None:
        """Have no more groups made here: the manager lets nobody in."""
        _log.info("The control group %s cannot be entered.", self._folder)
        self._folder = None

    async def close(self) -> None:
        """Give the group back. The kernels have to be gone."""
        self._folder = None
        if self._starting is not None:
            self._starting.cancel()
            await self.started()
        await self._end()

    async def _start(self) -> None:
        try:
            async with asyncio.timeout(SECONDS):
                self._folder = await self._ask()
        except (OSError, TimeoutError) as error:
            _log.info("systemd gave no control group: %r", error)
        if self._folder is None:
            await self._end()

    async def _ask(self) -> Path | None:
        """Start the process that holds the scope, and return the scope's folder; None if there will be none."""
        root, runtime, program = unified(), _runtime(), shutil.which("systemd-run")
        if root is None or runtime is None or program is None:
            return None
        options = ["--user", "--scope", "--quiet", "--collect", f"--unit={self._unit}"]
        options += ["--description=Child kernels of kowalski-jupyter", f"--property=Delegate={' '.join(CONTROLLERS)}"]
        reader, writer = os.pipe()
        try:
            self._holder = subprocess.Popen(  # noqa: ASYNC220 - returns at once
                [program, *options, "/bin/sh"],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=writer,
                stderr=subprocess.DEVNULL,
                env={"XDG_RUNTIME_DIR": runtime},
                start_new_session=True,  # an interrupt from the terminal is not for it
            )
            assert self._holder.stdin is not None  # noqa: S101 - a pipe
            controllers = " ".join(f"+{name}" for name in CONTROLLERS)
            self._holder.stdin.write(_ORDER.format(root=root, holder=_HOLDER, controllers=controllers).encode())
        except OSError:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        path = (await read_to_end(reader)).decode().strip()
        return Path(path) if path else None

    async def _end(self) -> None:
        """End the process that holds the scope, or that still asks for it."""
        holder, self._holder = self._holder, None
        if holder is not None:
            holder.kill()
            while holder.poll() is None:  # noqa: ASYNC110 - some milliseconds
                await asyncio.sleep(0.005)
            assert holder.stdin is not None  # noqa: S101 - a pipe
            holder.stdin.close()

    def _letting_in(self, group: str) -> list[str]:
        """Return the command line that lets a process into a group of the scope. The process id ends it."""
        environment = [f"PATH={os.environ.get('PATH', os.defpath)}", f"XDG_RUNTIME_DIR={_runtime()}"]
        limited = ["/usr/bin/env", *environment, "timeout", "-s", "KILL", str(SECONDS)]
        call = ["busctl", "--user", "call", *_MANAGER, "AttachProcessesToUnit"]
        return [*limited, *call, "ssau", self._unit, f"/{group}", "1"]


async def tried() -> Path | None:
    """Return the folder that a process was in, in a group made as for a kernel; None if none can be had here."""
    scope = Scope()
    scope.start()
    await scope.started()
    try:
        group = Cgroup.create(Limits(), scope.place(os.getpid()))
        if group is None:
            return None
        command = group.wrap(["/bin/cat", "/proc/self/cgroup"])
        shown = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
        while not group.remove():  # noqa: ASYNC110 - nobody is in it any more
            await asyncio.sleep(0.005)
        return group.folder if group.folder.name.encode() in shown.stdout else None
    finally:
        await scope.close()


def _runtime() -> str | None:
    """Return where the user's systemd manager is spoken to, if there is one. Root does without."""
    folder = os.environ.get("XDG_RUNTIME_DIR", "")
    return folder if os.getuid() and Path(folder, "systemd/private").exists() else None


def _may_enter(process: int, folder: Path) -> bool:
    """Return whether a process may enter groups in `folder` by itself."""
    root, group = unified(), group_of(process).get("")
    if root is None or group is None:
        return False
    return os.access(Path(os.path.commonpath([root / group, folder]), "cgroup.procs"), os.W_OK)
