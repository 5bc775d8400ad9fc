"""`jupyter kowalski kernels`: the languages that runs can use, and `kernels add`, which installs what is missing."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import cast

from kowalski_jupyter.kernels.base import Calls, KernelError
from kowalski_jupyter.kernels.install import install
from kowalski_jupyter.kernels.installed import find
from kowalski_jupyter.kernels.languages import FOREIGN, LANGUAGES
from kowalski_jupyter.kernels.pool import KernelPool
from kowalski_jupyter.service.config import Kowalski

Say = Callable[[str], None]


def table(config: Kowalski) -> list[str]:
    """Return a line for each language: its name, whether it can run here, and what runs it or what to do."""
    lines = [f"ok       {'Python':<11} ipykernel {version('ipykernel')}"]
    for name in FOREIGN:
        language = LANGUAGES[name]
        installed = find(name, config.kernels.get(name, ""))
        if installed is None:
            lines.append(f"-        {language.title:<11} not installed: jupyter kowalski kernels add {name}")
        elif problem := language.problem():
            lines.append(f"MISSING  {language.title:<11} {problem}")
        else:
            lines.append(
                f"ok       {language.title:<11} {language.version(installed.argv)} (kernelspec {installed.name})"
            )
    return lines


def add(languages: Sequence[str], config: Kowalski, say: Say) -> bool:
    """Install the kernels of `languages` and try each; return whether all of them work."""
    failed = []
    for name in languages:
        language = LANGUAGES[name]
        say(f"== {language.title}")
        try:
            if find(name, config.kernels.get(name, "")) is None or not language.complete():
                install(name, say)
            say(asyncio.run(_try(name, config)))
        except KernelError as error:
            say(str(error))
            failed.append(language.title)
    if failed:
        say(f"These do not work yet: {', '.join(failed)}.")
    return not failed


async def _try(name: str, config: Kowalski) -> str:
    """Run a cell in a fresh kernel and say how long it took."""
    with tempfile.TemporaryDirectory() as folder:
        pool = KernelPool(
            Path(folder), limits=config.limits(), spares=0, unsandboxed=config.unsandboxed, chosen=config.kernels
        )
        try:
            started = time.monotonic()
            kernel = await pool.acquire(name, data=(), calls=cast("Calls", None))  # the trial asks for nothing
            ready = time.monotonic()
            said: list[str] = []
            result = await kernel.execute(LANGUAGES[name].trial, lambda output: said.append(output.text))
            ended = time.monotonic()
        finally:
            await pool.close()
    if result.status != "ok" or "42" not in "".join(said):
        raise KernelError(f"A cell of {LANGUAGES[name].title} failed: {result.reason} {''.join(said)}".strip())
    return f"works: started in {ready - started:.1f} s, ran a cell in {ended - ready:.2f} s ({kernel.sandbox})"
