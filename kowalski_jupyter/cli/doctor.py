"""`jupyter kowalski doctor`: what is there, and for what is not, the command that fixes it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from jupyter_core.paths import jupyter_config_path, jupyter_path
from jupyter_server.extension.config import ExtensionConfigManager

from kowalski_jupyter.kernels.base import KernelError
from kowalski_jupyter.kernels.installed import find
from kowalski_jupyter.kernels.languages import FOREIGN, LANGUAGES
from kowalski_jupyter.kernels.sandbox import Bubblewrap
from kowalski_jupyter.models.discover import ModelSettings, survey
from kowalski_jupyter.service.config import Kowalski


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked for. `fix` is the command that brings it where it is missing."""

    name: str
    ok: bool
    detail: str
    fix: str = ""
    needed: bool = True


def examine(config: Kowalski | None = None) -> list[Check]:
    """Look for models, kernels, the sandbox and both extensions. Takes under a second."""
    config = config or Kowalski()
    return [*_models(config), _kernel(), *_other_kernels(config), _sandbox(), _browser_extension(), _server_extension()]


def report(checks: Sequence[Check]) -> str:
    """Return the checks as lines for a terminal."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        mark = "ok     " if check.ok else "MISSING" if check.needed else "-      "
        lines.append(f"{mark}  {check.name:<{width}}  {check.detail}")
        if not check.ok and check.fix:
            lines.append(f"{'':9}{'':{width}}  fix: {check.fix}")
    return "\n".join(lines)


def _models(config: Kowalski) -> list[Check]:
    settings = ModelSettings(url=config.url or None, model=config.model or None, embedded=config.embedded)
    with ThreadPoolExecutor(1) as aside:  # a notebook's own thread already runs an event loop
        found = aside.submit(asyncio.run, survey(settings)).result()
    some = any(each.ready for each in found)
    checks = [Check(f"model: {each.name}", each.ready, each.detail, each.fix, needed=False) for each in found]
    if not some:
        checks.append(Check("a model", ok=False, detail="none of the above answers", fix=checks[-1].fix))
    return checks


def _kernel() -> Check:
    return Check("kernel: python", ok=True, detail=f"ipykernel {version('ipykernel')}")


def _other_kernels(config: Kowalski) -> list[Check]:
    checks = []
    for name in FOREIGN:
        installed = find(name, config.kernels.get(name, ""))
        problem = LANGUAGES[name].problem()
        detail = problem or (f"kernelspec {installed.name}" if installed else "not installed")
        ok = installed is not None and not problem
        checks.append(Check(f"kernel: {name}", ok, detail, f"jupyter kowalski kernels add {name}", needed=False))
    return checks


def _sandbox() -> Check:
    try:
        Bubblewrap.find()
        return Check("sandbox", ok=True, detail=Bubblewrap.description)
    except KernelError as error:
        return Check("sandbox", ok=False, detail="no sandbox", fix=str(error))


def _browser_extension() -> Check:
    for folder in jupyter_path("labextensions"):
        if Path(folder, "kowalski-jupyter", "package.json").is_file():
            return Check("browser extension", ok=True, detail=str(Path(folder, "kowalski-jupyter")))
    return Check(
        "browser extension", ok=False, detail="not installed", fix="pip install --force-reinstall kowalski-jupyter"
    )


def _server_extension() -> Check:
    enabled = ExtensionConfigManager(read_config_path=jupyter_config_path()).get_jpserver_extensions()
    if enabled.get("kowalski_jupyter"):
        return Check("server extension", ok=True, detail="enabled")
    return Check(
        "server extension", ok=False, detail="not enabled", fix="jupyter server extension enable kowalski_jupyter"
    )
