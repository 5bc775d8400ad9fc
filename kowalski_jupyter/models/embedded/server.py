"""Starts the embedded model's process and talks to it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import secrets
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Final

from kowalski_jupyter.models.base import (
    Delta,
    Message,
    ModelCutOffError,
    ModelError,
    ModelUnreachableError,
    Report,
    Sampling,
)
from kowalski_jupyter.models.embedded.process import Options
from kowalski_jupyter.models.embedded.readings import Readings
from kowalski_jupyter.models.embedded.weights import DEFAULT_WEIGHTS, cache_folder, obtain
from kowalski_jupyter.models.openai import OpenAIModel
from kowalski_jupyter.models.reply import Clocks

INSTALL_COMMAND: Final = "pip install 'kowalski-jupyter[embedded]'"
WHERE: Final = "this machine (embedded)"

_CONTEXT_TOKENS: Final = 8192
_SLOTS: Final = 1
"""Requests at a time. On processor cores two take twice as long as one, and would share the window."""

_CACHE_MIB: Final = 1024
_LOAD_SECONDS: Final = 180.0
_END_SECONDS: Final = 3.0
_CLOCKS: Final = Clocks(first=600.0, between=120.0)
"""Prompts are read at 20 to 50 tokens a second by one core, and requests wait for each other."""


class EmbeddedModel(OpenAIModel):
    """An `OpenAIModel` whose server is a process of ours. `start_embedded` makes one."""

    def __init__(self, url: str, options: Options, process: asyncio.subprocess.Process, log: Path) -> None:
        super().__init__(
            url,
            options.name,
            api_key=options.api_key,
            kind="llama.cpp",
            where=WHERE,
            context_tokens=options.context_tokens,
            width=options.slots,
            clocks=_CLOCKS,
        )
        self._process = process
        self._log = log
        self._readings = Readings(Path(options.readings), self._client, url, Path(options.file))

    async def stream(self, messages: Sequence[Message], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """See `ChatModel.stream`."""
        try:
            async with aclosing(super().stream(messages, sampling)) as deltas:
                async for delta in deltas:
                    yield delta
        except (ModelUnreachableError, ModelCutOffError) as error:
            raise ModelUnreachableError(
                "The embedded model's process has ended, most often because memory ran out. Run again to start "
                f"it anew; its log is {self._log}."
            ) from error

    async def read_ahead(self, messages: Sequence[Message], report: Report) -> None:
        """See `ReadsAhead.read_ahead`."""
        await self._readings.read(messages, report)

    async def aclose(self) -> None:
        """Close the connections and end the process."""
        await super().aclose()
        await _end(self._process)


def missing() -> str | None:
    """Say what keeps the embedded model from being started, or None."""
    return None if importlib.util.find_spec("xllamacpp") else "xllamacpp is not installed"


async def start_embedded(report: Report, file: Path | None = None, *, readings: Path | None = None) -> EmbeddedModel:
    """Make the embedded model ready: its file, its process, its load.

    Args:
        report: told of the download, the check and the load.
        file: another GGUF file than the default, unchecked.
        readings: folder for what was read once; by default in the user's cache.

    Raises:
        ModelError: it cannot be had; the text says what to do.
    """
    lack = missing()
    if lack:
        raise ModelError(f"The embedded model cannot be started: {lack}. Run: {INSTALL_COMMAND}")
    path = _existing(file) if file else await obtain(report)
    options = Options(
        file=str(path),
        name=path.stem if file else DEFAULT_WEIGHTS.name,
        api_key=secrets.token_urlsafe(24),
        context_tokens=_CONTEXT_TOKENS,
        slots=_SLOTS,
        threads=_threads(),
        cache_mib=_CACHE_MIB,
        readings=str(readings or cache_folder().parent / "readings"),
    )
    report(f"loading {options.name}", None, None)
    begun = time.monotonic()
    log = cache_folder() / "embedded.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    process = await _start(options, log)
    try:
        url = await _served(process, log)
    except BaseException:
        await _end(process)
        raise
    report(f"model loaded in {time.monotonic() - begun:.1f} s", None, None)
    return EmbeddedModel(url, options, process, log)


def _existing(file: Path) -> Path:
    if not file.is_file():
        raise ModelError(f"There is no model file {file}. Set KOWALSKI_MODEL to a .gguf file that is there.")
    return file


def _threads() -> int:
    """Return half of the cores that this process may use, at least one.

    llama.cpp's threads wait for each other by spinning: one thread too many on a busy machine costs nine
    tenths of the speed, one too few costs little, since memory is the limit soon.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, usable // 2)


async def _start(options: Options, log: Path) -> asyncio.subprocess.Process:
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "kowalski_jupyter.models.embedded.process",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            # Ctrl+C in a terminal goes to the whole group; the model is not what the user means by it.
            start_new_session=True,
        )
    assert process.stdin is not None  # noqa: S101 - by PIPE above
    process.stdin.write(options.to_json().encode() + b"\n")
    with contextlib.suppress(ConnectionError):
        await process.stdin.drain()
    return process


async def _served(process: asyncio.subprocess.Process, log: Path) -> str:
    assert process.stdout is not None  # noqa: S101 - by PIPE in `_start`
    try:
        async with asyncio.timeout(_LOAD_SECONDS):
            line = await process.stdout.readline()
    except TimeoutError:
        raise ModelError(f"The embedded model was not loaded after {_LOAD_SECONDS:.0f} s; see {log}.") from None
    if not line:
        raise ModelError(
            f"The embedded model could not be loaded; the end of {log} says why. If memory is short, close "
            "something and run again, or set KOWALSKI_URL to the address of another model."
        )
    return str(json.loads(line)["url"])


async def _end(process: asyncio.subprocess.Process) -> None:
    """Close standard input, which the process ends by; kill it if it does not."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(_END_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
