"""Looks after what the processes of one kernel use together, where the system itself bounds only each of them.

A control group bounds their memory and number at once. Without one, which is what a normal user has on many systems,
they are added up ten times a second, and a kernel that is over its limits is ended. So is one that has used up its
processor time, which a group adds up but does not bound. No control group and no option of
bubblewrap's bounds how many files there are in the sandbox's own file systems, each of which takes memory of the
system's: so they are counted in any case.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .base import Limits

SECONDS = 0.1
MOST_FILES = 200_000
"""Empty ones take some 200 MB of the system's memory."""
SLACK = 256 << 20
"""Bytes besides the run's own: interpreters and their libraries."""
OVERHEAD = 8
"""Processes and threads of the sandbox and the idle kernel."""
_PLACES = ("tmp", "dev/shm")
_USED, _STARTED, _THREADS, _RESIDENT = slice(11, 15), 19, 17, 21
"""Fields of /proc/…/stat, counted from the one after the program's name."""
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class _Process:
    """What a process uses: pages, and ticks of processor time, its own and those of children that it has waited for."""

    identity: tuple[str, str]
    threads: int
    resident: int
    ticks: int
    children: int


class Watch:
    """Watches until it is stopped, and tells once what is too much.

    Args:
        first: The process id of the sandbox's first process. Its /proc shows all processes of the sandbox.
        used: Returns the seconds of processor time that the control group has used; None if there is no group, and
            nothing but this bounds memory and processes.
        limits: How many processes and threads there may be, and how much processor time they may use from now on.
        on_excess: Called with the reason, in words for the model and the user.
    """

    def __init__(
        self, first: int, *, used: Callable[[], float] | None, limits: Limits, on_excess: Callable[[str], None]
    ) -> None:
        self._memory = 0
        self._root = Path(f"/proc/{first}/root")
        self._used = used
        self._limits = limits
        self._used_before: float | None = None
        self._seen: dict[tuple[str, str], int] = {}
        self._ended = 0
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
        if self._used is not None:
            return self._excess_of_time(self._used())
        names = [name for name in _names(self._root / "proc") if name.isdigit()]
        processes = [process for name in names if (process := self._process(name))]
        if sum(process.threads for process in processes) > self._limits.processes + OVERHEAD:
            return f"it started more than {self._limits.processes} processes and threads"
        # What processes share counts for each of them, until it is too much.
        resident = sum(process.resident for process in processes)
        if resident * _PAGE > self._memory and sum(map(self._share, names)) > self._memory:
            return "its processes together used more memory than they may"
        return self._excess_of_time(self._ticks(processes) / _TICKS)

    def _excess_of_time(self, used: float) -> str:
        if self._used_before is None:
            self._used_before = used
        limit = self._limits.cpu_seconds
        return f"it used more processor time than {limit:g} s" if used - self._used_before > limit else ""

    def _ticks(self, processes: Sequence[_Process]) -> int:
        """Return the processor time of these processes and all earlier ones.

        Who has ended was either seen, or has a parent that counts it: short-lived processes whose parent does not want
        to know of their end are missed.
        """
        seen = {process.identity: process.ticks for process in processes}
        self._ended += sum(ticks for identity, ticks in self._seen.items() if identity not in seen)
        self._seen = seen
        told = sum(process.ticks + process.children for process in processes)
        return max(self._ended + sum(seen.values()), told)

    def _process(self, name: str) -> _Process | None:
        """Return what a process uses; None if it has just ended."""
        try:
            fields = (self._root / "proc" / name / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        own, system, children, their_system = map(int, fields[_USED])
        identity = (name, fields[_STARTED])
        return _Process(identity, int(fields[_THREADS]), int(fields[_RESIDENT]), own + system, children + their_system)

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
