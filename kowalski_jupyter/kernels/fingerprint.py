"""What a variable is known by in a later call: equal values have the same fingerprint, others have not."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

from .pack import PackError, write

Fingerprint = list[Any]
"""JSON-ready."""


def fingerprint(name: str, value: Any) -> Fingerprint:
    """Return the fingerprint of a value that `pack` takes; of a path, that of the files there, by size and time.

    Raises:
        PackError: it cannot be passed.
        OSError: a path cannot be read.
    """
    if isinstance(value, Path):
        source = value.expanduser().resolve(strict=True)
        digest = _Digest()
        for line in _files(source):
            digest.write(line)
        return ["path", str(source), *digest.parts()]
    try:
        return _of_value(name, value, same=True)
    except PackError:  # it may contain itself, which can be passed but not be written like that
        return _of_value(name, value, same=False)


def _of_value(name: str, value: Any, *, same: bool) -> Fingerprint:
    digest = _Digest()
    kind, meta = write(name, value, digest, same=same)  # type: ignore[arg-type]  # as much of a file as is needed
    return [kind, type(value).__qualname__, sorted(meta.items()), *digest.parts()]


class _Digest(io.RawIOBase):
    """A file that keeps no more of what is written to it than size and digest."""

    def __init__(self) -> None:
        super().__init__()
        self._size = 0
        self._hash = blake2b(digest_size=16)

    def parts(self) -> list[Any]:
        return [self._size, self._hash.hexdigest()]

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._hash.update(data)
        size = memoryview(data).nbytes
        self._size += size
        return size


def _files(source: Path) -> Iterator[bytes]:
    """Yield a line for each file at a path: its name, size and time of change."""
    if source.is_file():
        yield _line(source)
    for folder, folders, names in os.walk(source):
        folders.sort()
        for name in sorted(names):
            yield _line(Path(folder, name))


def _line(path: Path) -> bytes:
    seen = path.lstat()
    return ascii((str(path), seen.st_size, seen.st_mtime_ns)).encode() + b"\n"


__all__ = ["Fingerprint", "PackError", "fingerprint"]
