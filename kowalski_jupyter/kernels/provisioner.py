"""Starts child kernels, in a bubblewrap sandbox unless told otherwise.

A Jupyter kernel provisioner (entry point ``kowalski-sandbox``): a kernelspec may name it in
``metadata.kernel_provisioner.provisioner_name``. The child-kernel pool uses it directly.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import secrets
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import psutil
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from traitlets import Bool, Instance
from traitlets import List as ListTrait

from . import seccomp
from .base import KernelError, Limits
from .cgroup import Cgroup
from .folders import OwnedFolder
from .pipes import read_to_end
from .sandbox import FOLDER, HOST, SOCKETS, Bubblewrap, Mount, Python, environment
from .scope import Scope
from .zygote import HOLDER, INFO, Fork, Zygote

PREFIX = "kowalski-"
"""What the names of kernels' folders in the system's temporary folder begin with."""
_CHANNELS = ("shell", "iopub", "stdin", "control", "hb")
_EMPTY_SECONDS = 5.0
"""How long to wait for the system to see the last process of a control group off. What stays is swept later."""
_ERRORS_KEPT = 2000
_LONGEST_SOCKET = 100
"""Bytes of a socket's path; the systems' limits are 108 (Linux) and 104 (macOS)."""


class SandboxProvisioner(LocalProvisioner):
    """One kernel process with its folder, its sockets and its limits.

    The connection information that it hands out leads into the sandbox's own ``/tmp`` by way of
    ``/proc/<process>/root``: the sockets lie in a file system that the host's cannot be filled through.
    """

    limits: Limits = cast("Limits", Instance(Limits, args=()))
    mounts: list[Mount] = cast("list[Mount]", ListTrait(Instance(Mount)))
    net: bool = cast("bool", Bool(default_value=False, help="Share the host's network."))
    zygote: Zygote | None = None
    """What to fork the kernel from. Its command line has to be ``python OPTIONS PROGRAM …`` then."""
    scope: Scope | None = None
    """Where a control group may be made before one is looked for elsewhere."""
    unsandboxed: bool = cast("bool", Bool(default_value=False, help="Run without a sandbox.").tag(config=True))

    folder: Path
    _forked: Fork | None = None
    cgroup: Cgroup | None = None
    _owned: OwnedFolder | None = None
    _first: int | None = None
    inside: int | None = None
    """The process id of the sandbox's first process."""
    _errors: bytes = b""
    _exited: asyncio.Future[None] | None = None
    _watched: int | None = None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Make the kernel's folder, its connection file and its command line."""
        self.folder = _short_folder()
        self._owned = OwnedFolder(self.folder)
        key = self.parent.session.key if self.parent else secrets.token_hex(16).encode()
        inside = str(self.folder) if self.unsandboxed else FOLDER
        sockets = str(self.folder / "s") if self.unsandboxed else SOCKETS
        ports = {f"{name}_port": number for number, name in enumerate(_CHANNELS, 1)}
        info = {"transport": "ipc", "ip": sockets, "key": key.decode(), "signature_scheme": "hmac-sha256", **ports}
        connection = self.folder / "connection.json"
        connection.touch(mode=0o600)
        connection.write_text(json.dumps(info))
        self.connection_info = cast("KernelConnectionInfo", {**info, "key": key})
        command = [part.replace("{connection_file}", f"{inside}/connection.json") for part in self.kernel_spec.argv]
        return {"cmd": [*command, *kwargs.pop("extra_arguments", [])], **kwargs}

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start the process and return where its sockets are.

        Raises:
            KernelError: it did not start.
            SandboxMissingError: there is no sandbox here.
        """
        descriptors: tuple[int, ...] = kwargs.get("pass_fds", ())
        if self._forked is not None:
            self._forked.begin(cmd, descriptors)
            return self.connection_info
        if self.zygote is not None:
            await self._fork(self.zygote, Python.probe(cmd[0]), lambda fork: fork.begin(cmd, descriptors))
            return self.connection_info
        options = {**kwargs, "stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "cwd": str(self.folder)}
        if self.unsandboxed:
            own = {"PATH": os.environ.get("PATH", os.defpath), "TMPDIR": str(self.folder)}  # so nothing is left of it
            options["env"] = environment(str(self.folder)) | own
            await super().launch_kernel(cmd, **options)
            self._watch_process()
            return self.connection_info
        confine = self._confine(Python.probe(cmd[0]))
        with _told() as (reader, writer), _readable(seccomp.program()) as filtered:
            line = confine(cmd, info=writer, seccomp=filtered)
            line = self.cgroup.wrap(line) if self.cgroup else line
            passed = tuple(each for each in (*descriptors, writer, filtered) if each is not None)
            await super().launch_kernel(line, **{**options, "env": {}, "pass_fds": passed})
        self._watch_process()
        await self._find_first(reader)
        return self.connection_info

    async def wait_in_sandbox(self, python: Python) -> None:
        """Have the zygote make the sandbox. Its fork waits in there for `launch_kernel`.

        Raises:
            KernelError: it cannot be made.
        """
        assert self.zygote is not None  # noqa: S101 - whoever calls has one
        await self._fork(self.zygote, python, lambda _fork: None)

    async def _fork(self, zygote: Zygote, python: Python, begin: Callable[[Fork], None]) -> None:
        confine = self._confine(python)
        with _told() as (reader, writer):
            fork = zygote.fork(confine(HOLDER, info=INFO, within=HOST), info=writer, cgroup=self.cgroup)
            self._forked = fork
            self.process = cast("subprocess.Popen[bytes]", fork)
            self._watch(os.dup(fork.fileno()))
            begin(fork)
        await self._find_first(reader)

    def _confine(self, python: Python) -> functools.partial[list[str]]:
        """Make the control group, and return what makes the sandbox's command line."""
        starter = self.zygote.process if self.zygote else os.getpid()
        self.cgroup = Cgroup.create(self.limits, self.scope.place(starter) if self.scope else None)
        mounts = [Mount(self.folder, FOLDER), *self.mounts]
        command = Bubblewrap.find().command
        return functools.partial(command, python=python, mounts=mounts, limits=self.limits, net=self.net)

    async def _find_first(self, reader: int) -> None:
        """Learn from bubblewrap's report which is the sandbox's first process, and so where the sockets are."""
        report = await read_to_end(reader)
        try:
            first = int(json.loads(report)["child-pid"])
            self._first = os.pidfd_open(first)
            self.inside = first
        except (ValueError, KeyError, OSError) as error:
            raise KernelError(f"The sandbox did not start. {await self.last_words()}".strip()) from error
        if self.cgroup is not None and self.zygote is None and not self.cgroup.holds(first):
            self.cgroup.remove()
            self.cgroup = None
            if self.scope is not None:
                self.scope.give_up()
        self.connection_info = cast(
            "KernelConnectionInfo", {**self.connection_info, "ip": f"/proc/{first}/root{SOCKETS}"}
        )

    async def wait(self) -> int | None:
        """Return the exit status of the process as soon as it is gone."""
        if self.process is None:
            return 0
        if self._exited is not None:
            await asyncio.shield(self._exited)
        while (status := self.process.poll()) is None:  # noqa: ASYNC110 - no other way on some systems
            await asyncio.sleep(0.02)
        return status

    async def kill(self, restart: bool = False) -> None:  # noqa: ARG002 - Jupyter's signature
        """Kill the whole process tree."""
        self.kill_now()

    def kill_now(self) -> None:
        """Kill the whole process tree: the death of a sandbox's first process is that of all."""
        if self._forked is not None:
            self._forked.abandon()
        if self._first is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._first, signal.SIGKILL)
        elif isinstance(self.process, subprocess.Popen) and self.process.poll() is None:
            # The guard of a fork ends by itself when nobody waits for its report.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def interrupt(self) -> None:
        """Send SIGINT to the program that was started, which is the only child of a sandbox's first process."""
        with contextlib.suppress(psutil.NoSuchProcess):
            if self.inside is not None:
                for process in psutil.Process(self.inside).children():
                    process.send_signal(signal.SIGINT)
            elif self.process is not None:
                os.kill(self.process.pid, signal.SIGINT)

    async def cleanup(self, restart: bool = False) -> None:  # noqa: ARG002 - Jupyter's signature
        """Remove the folder, the control group and the descriptors. The process has to be gone."""
        if self._watched is not None:
            asyncio.get_running_loop().remove_reader(self._watched)
            os.close(self._watched)
            self._watched = None
        if self._first is not None:
            os.close(self._first)
            self._first = None
        if self.process is not None and self.process.stderr is not None:
            asyncio.get_running_loop().remove_reader(self.process.stderr.fileno())
            self.process.stderr.close()
        if self.cgroup is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EMPTY_SECONDS):
                    while not self.cgroup.remove():  # noqa: ASYNC110 - the system tells nobody
                        await asyncio.sleep(0.005)
        if self._owned is not None:
            self._owned.remove()
            self._owned = None

    async def last_words(self) -> str:
        """Return the end of what a process that is gone wrote to its error output: why it did not start."""
        if self.process is not None and self.process.stderr is not None and not self.process.stderr.closed:
            os.set_blocking(self.process.stderr.fileno(), False)
            self._errors += self.process.stderr.read(1 << 16) or b""
        return self._errors[-_ERRORS_KEPT:].decode(errors="replace").strip()

    def drain(self) -> None:
        """Read what a kernel writes to its error output from now on, so that it never waits; the end is kept."""
        if self.process is not None and self.process.stderr is not None:
            os.set_blocking(self.process.stderr.fileno(), False)
            asyncio.get_running_loop().add_reader(self.process.stderr.fileno(), self._read_errors)

    def _read_errors(self) -> None:
        assert self.process is not None  # noqa: S101 - it was there when reading began
        assert self.process.stderr is not None  # noqa: S101 - as well
        piece = self.process.stderr.read(1 << 16)
        self._errors = (self._errors + (piece or b""))[-_ERRORS_KEPT:]
        if piece == b"":
            asyncio.get_running_loop().remove_reader(self.process.stderr.fileno())

    def _watch_process(self) -> None:
        """Learn of the process's end without polling, where the system can tell (Linux)."""
        if hasattr(os, "pidfd_open") and self.process is not None:
            self._watch(os.pidfd_open(self.process.pid))

    def _watch(self, descriptor: int) -> None:
        """See whether the process is gone whenever something can be read from `descriptor`."""
        self._exited = asyncio.get_running_loop().create_future()
        self._watched = descriptor
        asyncio.get_running_loop().add_reader(descriptor, self._on_exit)

    def _on_exit(self) -> None:
        if self.process is None or self.process.poll() is None:
            return
        if self._exited is not None and not self._exited.done():
            self._exited.set_result(None)
        if self._watched is not None:
            asyncio.get_running_loop().remove_reader(self._watched)


@contextlib.contextmanager
def _told() -> Iterator[tuple[int, int]]:
    """A pipe on which bubblewrap tells what it has made. The end to write to is closed, at an error both are."""
    reader, writer = os.pipe()
    try:
        yield reader, writer
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)


@contextlib.contextmanager
def _readable(data: bytes) -> Iterator[int | None]:
    """A descriptor that `data` can be read from, or None if there is none. It has to fit into a pipe."""
    if not data:
        yield None
        return
    reader, writer = os.pipe()
    try:
        with os.fdopen(writer, "wb") as file:
            file.write(data)
        yield reader
    finally:
        os.close(reader)


def _short_folder() -> Path:
    """Make a private folder whose path leaves room for the names of sockets."""
    folder = tempfile.mkdtemp(prefix=PREFIX)
    if len(os.fsencode(folder)) > _LONGEST_SOCKET - len("/calls.sock"):
        Path(folder).rmdir()
        folder = tempfile.mkdtemp(prefix=PREFIX, dir="/tmp")
    return Path(folder)
