"""Which kernel serves a language here: kernelspecs, as Jupyter knows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel

from .languages import FOREIGN, LANGUAGES


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
    """Return the kernelspec called `chosen`, else the one that serves `language` best, else None."""
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
