"""A lock between processes, held by an open file: the system lets go of it however its holder ends."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Final

_POLL_SECONDS: Final = 0.2

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[bytes]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _try_lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@asynccontextmanager
async def locked(path: Path, on_wait: Callable[[], None]) -> AsyncGenerator[None, None]:
    """Hold the lock that `path` stands for; `on_wait` is called once if another process has it."""
    with path.open("ab") as file:
        waited = False
        while True:
            try:
                _try_lock(file)
                break
            except OSError:
                if not waited:
                    on_wait()
                    waited = True
                await asyncio.sleep(_POLL_SECONDS)
        yield
