"""`jupyter kowalski doctor`: what is there, and for what is not, the command that fixes it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from jupyter_core.paths import jupyter_config_path, jupyter_path
from jupyter_server.extension.config import ExtensionConfigManager

from kowalski_jupyter.cluster.health import device_name
from kowalski_jupyter.cluster.snapshot import Snapshot
from kowalski_jupyter.kernels import seccomp
from kowalski_jupyter.kernels.access import description
from kowalski_jupyter.kernels.base import CLOSED, KernelError
from kowalski_jupyter.kernels.installed import find
from kowalski_jupyter.kernels.languages import FOREIGN, LANGUAGES
from kowalski_jupyter.kernels.prelude import landlock
from kowalski_jupyter.kernels.sandbox import Bubblewrap
from kowalski_jupyter.kernels.scope import tried
from kowalski_jupyter.models.discover import ModelSettings, survey
from kowalski_jupyter.models.found import Found
from kowalski_jupyter.service.config import Kowalski

_TROUBLE: Final = {
    "stale": "its cluster has not heard of it for some seconds",
    "unreachable": "it is in the cluster, but its API cannot be reached from here",
    "lost": "it does not answer any more",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked for. `fix` is the command that brings it where it is missing."""

    name: str
    ok: bool
    detail: str
    fix: str = ""
    needed: bool = True


def examine(config: Kowalski | None = None) -> list[Check]:
    """Look for models, devices, kernels, the sandbox and both extensions. Takes about a second."""
    config = config or Kowalski()
    with ThreadPoolExecutor(1) as aside:  # a notebook's own thread already runs an event loop
        snapshot, found = aside.submit(asyncio.run, _look(config)).result()
        group = aside.submit(asyncio.run, tried()).result()
    return [
        *_models(found),
        *_devices(snapshot),
        _kernel(),
        *_other_kernels(config),
        _sandbox(),
        _second_wall(),
        _limits(group),
        _browser_extension(),
        _server_extension(),
    ]


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


async def _look(config: Kowalski) -> tuple[Snapshot, list[Found]]:
    """Look for devices, and for models there and elsewhere."""
    cluster = config.open_cluster()
    try:
        snapshot = await cluster.look()
    finally:
        await cluster.close()
    settings = ModelSettings(url=config.url or None, model=config.model or None, embedded=config.embedded)
    for url in (url for key in snapshot.clusters for url in snapshot.urls(key)[:1]):
        settings = dataclasses.replace(settings, exo_url=url)
    return snapshot, await survey(settings)


def _models(found: Sequence[Found]) -> list[Check]:
    some = any(each.ready for each in found)
    checks = [Check(f"model: {each.name}", each.ready, each.detail, each.fix, needed=False) for each in found]
    if not some:
        checks.append(Check("a model", ok=False, detail="none of the above answers", fix=checks[-1].fix))
    return checks


def _devices(snapshot: Snapshot) -> list[Check]:
    """Return a check for each device of the exo cluster, or one that says how to bring one in."""
    checks = []
    for health in snapshot.devices.values():
        name, ok = f"device: {device_name(health.device)}", health.condition == "ok"
        runs = [each for each in snapshot.instances.values() if health.device.id in each.instance.nodes]
        models = ", ".join(f"{each.instance.model} ({each.problem or 'ready'})" for each in runs) or "no model loaded"
        detail = f"{health.url}, {models}" if ok else _TROUBLE[health.condition]
        checks.append(
            Check(name, ok, detail, "" if ok else "see that exo runs on it, in the same network", needed=False)
        )
    lack = Check("devices", ok=False, detail="no exo cluster", fix="uv run exo, on any of your devices", needed=False)
    return checks or [lack]


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
        return Check("sandbox", ok=True, detail=description(CLOSED))
    except KernelError as error:
        return Check("sandbox", ok=False, detail="no sandbox", fix=str(error))


def _second_wall() -> Check:
    held = landlock.parts("nothing")
    filters = bool(seccomp.program())
    walls = ["a filter of system calls"] if filters else []
    walls += [f"Landlock for {', '.join(held)}"] if held else []
    return Check(
        "second wall",
        ok=filters and landlock.version() >= landlock.COMPLETE,
        detail="; ".join(walls) or "none",
        fix="a newer system: Linux 6.12 or later, on x86_64 or aarch64, with Landlock switched on, has all of it",
        needed=False,
    )


def _limits(group: Path | None) -> Check:
    if group is not None:
        return Check("limits", ok=True, detail=f"each kernel as a whole, by a control group in {group.parent}")
    return Check(
        "limits",
        ok=False,
        detail="each process of a kernel, and what all use together is added up ten times a second: no control group",
        fix="start Jupyter from a login session (XDG_RUNTIME_DIR set) of a system with systemd and cgroup2",
        needed=False,
    )


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
