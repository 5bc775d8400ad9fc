"""Keeps child kernels warm and hands them to runs, one each."""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import zmq

from . import cgroup
from .base import FUNCTIONS, Calls, DataItem, Function, KernelError, Limits, SandboxMissingError
from .child import ChildKernel
from .folders import sweep
from .foreign import ForeignKernel
from .installed import available, find
from .languages import LANGUAGES
from .provisioner import PREFIX
from .sandbox import Bubblewrap, Python
from .zygote import Zygote, supported

_log = logging.getLogger(__name__)


class KernelPool:
    """Where runs get their child kernels (see `Kernels` in base.py).

    A kernel serves one run and is thrown away. A spare is started as soon as one is taken, so a run need not wait for
    a start, and wherever that works a start is a fork (zygote.py). Data that has to be mounted (the user's own files)
    needs a kernel that is started with it.

    Args:
        root: A folder on disk for the runs' data; packed data should be written on the same disk.
        limits: What each kernel may use.
        spares: How many kernels are kept warm.
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
        self._spares = spares
        self._unsandboxed = unsandboxed
        self._python = python
        self._chosen = dict(chosen or {})
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._warm: list[asyncio.Task[ChildKernel]] = []
        self._kernels: set[ChildKernel] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._looking: asyncio.Task[Sequence[str]] | None = None
        self._closed = False
        self._zygote: Zygote | None = None
        self._forks = forks and not unsandboxed and supported()

    def check(self) -> None:
        """See that there is a sandbox; see `Kernels.check`."""
        if not self._unsandboxed:
            Bubblewrap.find()

    async def start(self) -> None:
        """Start the spares in the background. Without this the first `acquire` does."""
        self._refill()
        self._looking = asyncio.create_task(self.languages())  # the first look takes most of a second

    async def languages(self) -> Sequence[str]:
        """Return what can run here; see `Kernels.languages`. Compilers are asked, so it is done on a thread."""
        return await asyncio.to_thread(available, self._chosen)

    async def acquire(
        self, language: str, *, data: Sequence[DataItem], calls: Calls, functions: Collection[Function] = FUNCTIONS
    ) -> ChildKernel:
        """Return a kernel with `data` loaded; see `Kernels.acquire`."""
        if self._closed:
            raise KernelError("The kernels have been shut down.")
        if language not in LANGUAGES:
            raise KernelError(f"There is no kernel for {language!r}. There are: {', '.join(LANGUAGES)}.")
        if language != "python":
            kernel = await self._started(self._foreign(language, data))
        else:
            kernel = await (self._start(data) if any(item.source for item in data) else self._take())
        try:
            await kernel.load(data, calls, functions)
        except BaseException:
            await kernel.close()
            raise
        return kernel

    async def close(self) -> None:
        """Close every kernel, used or spare, and wait until nothing is left."""
        self._closed = True
        if self._looking is not None:
            await asyncio.wait([self._looking])
        starting, self._warm = self._warm, []
        for task in starting:
            task.cancel()
        if self._zygote is not None:
            await self._zygote.close()
        await asyncio.gather(*starting, return_exceptions=True)
        await asyncio.gather(*(kernel.close() for kernel in [*self._kernels]))
        if self._context is not None:
            self._context.term()
            self._context = None

    def _refill(self) -> None:
        while len(self._warm) < self._spares and not self._closed:
            task = asyncio.create_task(self._start(()))
            # Whoever takes the spare gets the error; if nobody does, it is no news.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._warm.append(task)

    async def _take(self) -> ChildKernel:
        """Return a spare that is still alive, or a new kernel, and see to the next spare."""
        while self._warm:
            task = self._warm[0]
            await asyncio.wait([task])
            if task not in self._warm:
                continue  # another run was faster
            self._warm.remove(task)
            self._refill()
            kernel = await task
            if kernel.alive:
                return kernel
            await kernel.close()
        self._refill()
        return await self._start(())

    async def _start(self, data: Sequence[DataItem]) -> ChildKernel:
        """Fork a kernel, or start one from nothing where forking does not work."""
        if self._forks:
            try:
                self._zygote = self._zygote or Zygote(Python.probe(self._python))
                await self._zygote.start()
                return await self._launch(data, self._zygote)
            except SandboxMissingError:
                raise
            except KernelError as error:
                _log.info("Child kernels are no longer forked: %s", error)
                self._forks = False
        return await self._launch(data, None)

    async def _launch(self, data: Sequence[DataItem], zygote: Zygote | None) -> ChildKernel:
        return await self._started(ChildKernel(self._folder(), items=data, **self._options()), zygote)

    def _foreign(self, language: str, data: Sequence[DataItem]) -> ForeignKernel:
        """Return a kernel of another language that is not started yet."""
        chosen = self._chosen.get(language, "")
        installed = find(language, chosen)
        if installed is None:
            title = LANGUAGES[language].title
            what = f"The kernel {chosen!r} that you chose is" if chosen else f"A kernel for {title} is"
            raise KernelError(f"{what} not installed. `jupyter kowalski kernels add {language}` installs one.")
        kind = LANGUAGES[language]
        return ForeignKernel(self._folder(), language=kind, installed=installed, items=data, **self._options())

    def _folder(self) -> Path:
        return self._root / f"{PREFIX}{secrets.token_hex(6)}"

    def _options(self) -> dict[str, Any]:
        if self._closed:
            raise KernelError("The kernels have been shut down.")
        if self._context is None:
            self._context = zmq.Context()
            cgroup.sweep()
            sweep(self._root, f"{PREFIX}*")
            sweep(Path(tempfile.gettempdir()), f"{PREFIX}*")
        return {
            "context": self._context,
            "limits": self._limits,
            "python": self._python,
            "unsandboxed": self._unsandboxed,
            "on_closed": self._kernels.discard,
        }

    async def _started(self, kernel: ChildKernel, zygote: Zygote | None = None) -> ChildKernel:
        self._kernels.add(kernel)
        try:
            await kernel.start(zygote)
        except BaseException:
            await kernel.close()
            raise
        return kernel
