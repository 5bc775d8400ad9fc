"""Looks after what the processes of one kernel use together, where the system itself bounds only each of them.

A control group bounds their memory and number at once. Without one, which is what a normal user has on many systems,
they are added up ten times a second, and a kernel that is over its limits is ended. No control group and no option of
bubblewrap's bounds how many files there are in the sandbox's own file systems, each of which takes memory of the
system's: so they are counted in any case.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path

SECONDS = 0.1
MOST_FILES = 200_000
"""Empty ones take some 200 MB of the system's memory."""
SLACK = 256 << 20
"""Bytes besides the run's own: interpreters and their libraries."""
OVERHEAD = 8
"""Processes and threads of the sandbox and the idle kernel."""
_PLACES = ("tmp", "dev/shm")
_THREADS, _RESIDENT = 17, 21
"""Fields of /proc/…/stat, counted from the one after the program's name."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Watch:
    """Watches until it is stopped, and tells once what is too much.

    Args:
        first: The process id of the sandbox's first process. Its /proc shows all processes of the sandbox.
        alone: Whether nothing else bounds memory and processes.
        processes: How many processes and threads there may be.
        on_excess: Called with the reason, in words for the model and the user.
    """

    def __init__(self, first: int, *, alone: bool, processes: int, on_excess: Callable[[str], None]) -> None:
        self._memory = 0
        self._root = Path(f"/proc/{first}/root")
        self._alone = alone
        self._processes = processes
        self._on_excess = on_excess
        self._timer: asyncio.TimerHandle | None = None

    def start(self, memory: int) -> None:
        """Begin, with so many bytes for the run's own use."""
        self._memory = memory + SLACK
        self._look()

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        if reason := self._excess():
            self._timer = None
            self._on_excess(reason)
        else:
            self._timer = asyncio.get_running_loop().call_later(SECONDS, self._look)

    def _excess(self) -> str:
        for place in _PLACES:
            with contextlib.suppress(OSError):
                found = os.statvfs(self._root / place)
                if found.f_files - found.f_ffree > MOST_FILES:
                    return f"it made more than {MOST_FILES:,} files"
        if not self._alone:
            return ""
        processes = [name for name in _names(self._root / "proc") if name.isdigit()]
        threads, resident = map(sum, zip(*(self._stat(name) for name in processes), (0, 0), strict=True))
        if threads > self._processes + OVERHEAD:
            return f"it started more than {self._processes} processes and threads"
        # What processes share counts for each of them, until it is too much.
        if resident * _PAGE > self._memory and sum(map(self._share, processes)) > self._memory:
            return "its processes together used more memory than they may"
        return ""

    def _stat(self, process: str) -> tuple[int, int]:
        """Return how many threads a process has and how many pages are resident; nothing if it has just ended."""
        try:
            fields = (self._root / "proc" / process / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            return 0, 0
        return int(fields[_THREADS]), int(fields[_RESIDENT])

    def _share(self, process: str) -> int:
        """Return how many bytes a process uses; what is shared counts by its share."""
        try:
            lines = (self._root / "proc" / process / "smaps_rollup").read_text().splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:")), 0)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - names are what is wanted
    except OSError:
        return []
