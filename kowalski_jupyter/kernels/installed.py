"""Which kernel serves a language here: kernelspecs, as Jupyter knows them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel
from jupyter_core.paths import jupyter_path

from .languages import FOREIGN, LANGUAGES

_State = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Installed:
    """A kernelspec that serves a language.

    `direct` says that the kernel is ours: it binds the unix sockets that it is told and reports when it is ready.
    """

    name: str
    argv: tuple[str, ...]
    interrupt: str
    direct: bool


def find(language: str, chosen: str = "") -> Installed | None:
    """Return the kernelspec called `chosen`, else the one that serves `language` best, else None.

    Looked for again only after a kernelspec was installed, changed or removed: a kernel's start waits for this.
    """
    return _find(language, chosen, _state([Path(path) for path in jupyter_path("kernels")], "*/kernel.json"))


@lru_cache
def _find(language: str, chosen: str, _now: _State) -> Installed | None:
    manager = KernelSpecManager(ensure_native_kernel=False)
    found: Mapping[str, str] = manager.find_kernel_specs()
    if chosen:
        return _read(manager, chosen)
    for name in LANGUAGES[language].kernelspecs:
        if name in found and (installed := _read(manager, name, language)):
            return installed
    return next((installed for name in sorted(found) if (installed := _read(manager, name, language))), None)


def available(chosen: Mapping[str, str]) -> tuple[str, ...]:
    """Return Python and the languages whose kernel is installed and lacks nothing; `chosen` names kernelspecs."""
    return (
        "python",
        *(name for name in FOREIGN if find(name, chosen.get(name, "")) and not LANGUAGES[name].problem()),
    )


class Available:
    """What `available` returns, asked again only after something was installed or removed.

    A look reads every kernelspec and asks compilers, which the first turns of a run should not wait beside.
    """

    def __init__(self, chosen: Mapping[str, str]) -> None:
        self._chosen = dict(chosen)
        self._state: _State | None = None
        self._newest: asyncio.Task[tuple[str, ...]] | None = None

    def look(self) -> asyncio.Task[tuple[str, ...]]:
        """Begin to look, on a thread, where there is reason to. Returns the newest look."""
        state = _installations()
        if self._newest is None or state != self._state:
            self._state = state
            self._newest = asyncio.create_task(asyncio.to_thread(available, self._chosen))
        return self._newest

    async def get(self) -> tuple[str, ...]:
        """Return the languages."""
        return await asyncio.shield(self.look())

    async def close(self) -> None:
        """Wait for a look that is under way."""
        if self._newest is not None:
            await asyncio.wait([self._newest])


def _installations() -> _State:
    """Return the state of each folder that kernelspecs or programs are installed in."""
    return _state([Path(folder) for folder in (*jupyter_path("kernels"), *os.get_exec_path())])


def _state(folders: Sequence[Path], pattern: str = "") -> _State:
    """Return when each folder, and what in it matches, last changed."""
    found = [path for folder in folders for path in folder.glob(pattern)] if pattern else []
    return tuple((str(path), _changed(path)) for path in (*folders, *found))


def _changed(path: Path) -> int:
    """Return when, in nanoseconds; 0 for what is not there."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _read(manager: KernelSpecManager, name: str, language: str = "") -> Installed | None:
    try:
        spec: KernelSpec = manager.get_kernel_spec(name)
    except (NoSuchKernel, OSError, ValueError):
        return None
    names = {language, *LANGUAGES[language].tags} if language else set()
    if names and spec.language.lower() not in names:
        return None
    argv = tuple(part.replace("{resource_dir}", str(Path(spec.resource_dir).absolute())) for part in spec.argv)
    ours = isinstance(own := spec.metadata.get("kowalski"), dict) and own.get("direct") is True
    return Installed(name, argv, spec.interrupt_mode, ours)
