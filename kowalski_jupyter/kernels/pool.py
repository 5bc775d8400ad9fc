"""Keeps child kernels warm and hands them to runs, one each."""

from __future__ import annotations

import asyncio
import functools
import logging
import secrets
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from weakref import WeakSet

import zmq

from . import cgroup
from .access import check_access
from .base import CLOSED, FUNCTIONS, Access, Calls, DataItem, Function, KernelError, Limits, SandboxMissingError
from .child import ChildKernel, Make
from .folders import sweep
from .foreign import ForeignKernel
from .installed import Available, find
from .languages import LANGUAGES
from .process import KernelProcess, Setup
from .provisioner import PREFIX
from .python import PythonKernel
from .sandbox import Bubblewrap, Mount, Python
from .scope import Scope
from .spares import Spares
from .zygote import Zygote, supported

_IDLE_SECONDS = 600.0
"""How long a spare of another language than Python is kept after the last run that used the language."""
_LARGEST_IN_SPARE = 64 << 20
"""Bytes of data from which on a kernel of another language is started for it: its limits depend on the size."""
_FAILED_FORKS = 3
"""After so many in a row kernels are no longer forked."""

_log = logging.getLogger(__name__)


class KernelPool:
    """Where runs get their child kernels (see `Kernels` in base.py).

    A kernel serves one run and is thrown away. A spare is started soon after one is taken, so that a run need not wait
    for a start: for Python from the beginning, for another language once it is used. Wherever that works a start of a
    kernel that is in Python is a fork (zygote.py), and one waits in a sandbox to become whichever is wanted. Data that
    has to be mounted (the user's own files), and a sandbox that the user has widened, need a kernel that is started
    with it.

    Args:
        root: A folder on disk for the runs' data; packed data should be written on the same disk.
        limits: What each kernel may use.
        spares: How many kernels of a language are kept warm.
        unsandboxed: Run without a sandbox: the user's decision, never a fallback.
        forks: Fork kernels from a zygote where that works. Else each starts from nothing.
        python: The interpreter of the kernels.
        chosen: Names of kernelspecs by language, where the user has chosen one.
    """

    def __init__(
        self,
        root: Path,
        *,
        limits: Limits | None = None,
        spares: int = 1,
        unsandboxed: bool = False,
        forks: bool = True,
        python: str = sys.executable,
        chosen: Mapping[str, str] | None = None,
    ) -> None:
        self._root = root
        self._limits = limits or Limits()
        self._count = spares
        self._unsandboxed = unsandboxed
        self._python = python
        self._chosen = dict(chosen or {})
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._spares: dict[str, Spares[ChildKernel]] = {}
        self._places = Spares(self._place, count=spares)
        self._kernels: set[ChildKernel] = set()
        self._processes: WeakSet[KernelProcess] = WeakSet()
        self._available = Available(self._chosen)
        self._closed = False
        self._zygote: Zygote | None = None
        self._scope = Scope()
        self._forks_left = _FAILED_FORKS if forks and not unsandboxed and supported() else 0

    def check(self) -> None:
        """See that there is a sandbox; see `Kernels.check`."""
        if not self._unsandboxed:
            Bubblewrap.find()

    async def start(self) -> None:
        """Start the spares in the background. Without this the first `acquire` does."""
        self._spare("python").fill()
        self._available.look()

    async def languages(self) -> Sequence[str]:
        """Return what can run here; see `Kernels.languages`."""
        return await self._available.get()

    async def ready(self, language: str = "python") -> None:
        """Wait until the spares of a language are there, and sandboxes that wait for kernels."""
        await self._spare(language).ready()
        if self._forks_left:
            await self._places.ready()

    async def acquire(
        self,
        language: str,
        *,
        data: Sequence[DataItem],
        calls: Calls,
        functions: Collection[Function] = FUNCTIONS,
        access: Access = CLOSED,
        seed: int = 0,
    ) -> ChildKernel:
        """Return a kernel with `data` loaded; see `Kernels.acquire`."""
        if self._closed:
            raise KernelError("The kernels have been shut down.")
        if language not in LANGUAGES:
            raise KernelError(f"There is no kernel for {language!r}. There are: {', '.join(LANGUAGES)}.")
        check_access(access)
        if access != CLOSED or _needs_its_own(language, data):
            kernel = await self._start(language, data, access)
        else:
            kernel = await self._spare(language).take()
        try:
            await kernel.load(data, calls, functions, seed=seed)
        except BaseException:
            await kernel.close()
            raise
        return kernel

    async def close(self) -> None:
        """Close every kernel, used or spare, and wait until nothing is left."""
        self._closed = True
        await self._available.close()
        closing = [asyncio.create_task(spares.close()) for spares in self._spares.values()]
        closing.append(asyncio.create_task(self._places.close()))
        if self._zygote is not None:
            await self._zygote.close()
        await asyncio.gather(*closing)
        await asyncio.gather(*(kernel.close() for kernel in [*self._kernels]))
        # Those as well whose start was cancelled, and then whoever waited for their end.
        await asyncio.gather(*(process.close() for process in [*self._processes]))
        await self._scope.close()
        if self._context is not None:
            self._context.term()
            self._context = None

    def _spare(self, language: str) -> Spares[ChildKernel]:
        if language not in self._spares:
            start = functools.partial(self._start, language, (), CLOSED)
            idle = None if language == "python" else _IDLE_SECONDS
            warm_up = ChildKernel.warm_up
            self._spares[language] = Spares(start, count=self._count, prepare=warm_up, idle_seconds=idle)
        return self._spares[language]

    async def _start(self, language: str, data: Sequence[DataItem], access: Access) -> ChildKernel:
        kernel = self._make(language, data, access)
        if self._forks_left and kernel.forks and not access.net:  # the zygote has no network itself
            try:
                await self._started(kernel, self._fork)
            except SandboxMissingError:
                raise
            except KernelError as error:
                self._forks_left = max(0, self._forks_left - 1)
                _log.info("A child kernel could not be forked: %s", error)
            else:
                self._forks_left = _FAILED_FORKS
                return kernel
            kernel = self._make(language, data, access)
        await self._started(kernel, functools.partial(self._process, net=access.net))
        return kernel

    async def _fork(self, mounts: Sequence[Mount]) -> KernelProcess:
        """Return a fork that waits in a sandbox, a spare one where nothing else has to be shown in there."""
        return await self._place(mounts) if mounts else await self._places.take()

    async def _place(self, mounts: Sequence[Mount] = ()) -> KernelProcess:
        """Return a new fork of the zygote, or of a new one if that has died."""
        python, zygote = Python.probe(self._python), self._zygote
        if zygote is None or not zygote.alive:
            dead, zygote = zygote, Zygote(python)
            self._zygote = zygote
            if dead is not None:
                await dead.close()
        await zygote.start()
        await self._scope.admit(zygote.process)
        process = await self._process(mounts, zygote)
        try:
            if process.forks:
                await process.wait_in_sandbox(python)
        except BaseException:
            await process.close()
            raise
        return process

    async def _process(
        self, mounts: Sequence[Mount], zygote: Zygote | None = None, *, net: bool = False
    ) -> KernelProcess:
        folder = self._root / f"{PREFIX}{secrets.token_hex(6)}"
        process = KernelProcess(folder, self._setup(), mounts, net=net, zygote=zygote)
        self._processes.add(process)
        return process

    def _make(self, language: str, data: Sequence[DataItem], access: Access) -> ChildKernel:
        """Return a kernel that is not started yet."""
        setup = self._setup()
        if language == "python":
            return PythonKernel(setup, data, access, self._kernels.discard)
        kind, chosen = LANGUAGES[language], self._chosen.get(language, "")
        installed = find(language, chosen)
        if installed is None:
            what = f"The kernel {chosen!r} that you chose is" if chosen else f"A kernel for {kind.title} is"
            raise KernelError(f"{what} not installed. `jupyter kowalski kernels add {language}` installs one.")
        return ForeignKernel(setup, data, access, self._kernels.discard, kind=kind, installed=installed)

    def _setup(self) -> Setup:
        if self._closed:
            raise KernelError("The kernels have been shut down.")
        if self._context is None:
            self._context = zmq.Context()
            cgroup.sweep()
            sweep(self._root, f"{PREFIX}*")
            sweep(Path(tempfile.gettempdir()), f"{PREFIX}*")
            if not self._unsandboxed:
                self._scope.start()
        return Setup(self._context, self._limits, self._scope, self._python, self._unsandboxed)

    async def _started(self, kernel: ChildKernel, make: Make) -> None:
        self._kernels.add(kernel)
        try:
            await kernel.start(make)
        except BaseException:
            await kernel.close()
            raise


def _needs_its_own(language: str, data: Sequence[DataItem]) -> bool:
    """Return whether a kernel for `data` has to be started with it."""
    if any(item.source for item in data):
        return True
    return language != "python" and sum(item.size for item in data) > _LARGEST_IN_SPARE
