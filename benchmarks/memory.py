"""Memory of a process and all its descendants, as proportional set size: shared pages count once."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

import psutil

_PACE = 0.01


def tree_pss(pid: int) -> int:
    """Return the bytes that a process and its descendants take together. Processes that end meanwhile count zero."""
    total = 0
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for member in family:
        try:
            with open(f"/proc/{member.pid}/smaps_rollup") as rollup:  # noqa: PTH123 - a pseudo-file
                total += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total * 1024


class PeakMemory:
    """Samples a process tree while the context is open; `added` is the peak above what was there at first."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._before = self._peak = 0

    @property
    def added(self) -> int:
        return self._peak - self._before

    def __enter__(self) -> Self:
        self._before = self._peak = tree_pss(self._pid)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        stopped = False
        while not stopped:
            stopped = self._stop.wait(_PACE)
            self._peak = max(self._peak, tree_pss(self._pid))  # once more after the stop
