"""A control group around one child kernel, where this user may make one.

Only a control group bounds what all processes of a kernel use together, and only it stops a fork bomb
that root's kernel starts (RLIMIT_NPROC does not count root's processes). Without one, each process has
its own limits.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

from .base import Limits
from .watch import OVERHEAD, SLACK


class Cgroup:
    """The control group of one kernel, in one folder (version 2) or one per controller (version 1)."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders

    @classmethod
    def create(cls, limits: Limits) -> Cgroup | None:
        """Return a new group with `limits`, near this process's own, or None where that is not allowed."""
        name = f"kowalski-{os.getpid()}-{secrets.token_hex(6)}"
        for parents in _candidates():
            group = cls([parent / name for parent in parents])
            try:
                for folder in group._folders:
                    folder.mkdir()
                group.allow_memory(limits.memory)
                group._write("pids.max", limits.processes + OVERHEAD)
            except OSError:
                group.remove()
                continue
            return group
        return None

    def allow_memory(self, size: int) -> None:
        """Set the limit to `size` bytes for the run's own use."""
        limit = size + SLACK
        with_swap = "memory.memsw.limit_in_bytes"
        # Memory with swap may never be less than memory without: raise it first, lower it last.
        for name, value in ((with_swap, limit), ("memory.limit_in_bytes", limit), (with_swap, limit)):
            self._write(name, value, optional=name == with_swap)
        self._write("memory.max", limit)
        self._write("memory.swap.max", 0, optional=True)

    def wrap(self, command: Sequence[str]) -> list[str]:
        """Return the command line that enters the group and then becomes `command`."""
        files = [str(folder / "cgroup.procs") for folder in self._folders]
        script = f'i=0; while [ $i -lt {len(files)} ]; do echo $$ > "$1" || exit 71; shift; i=$((i+1)); done; exec "$@"'
        return ["/bin/sh", "-c", script, "sh", *files, *command]

    def entrances(self) -> list[int]:
        """Return descriptors by which whoever has them enters the group: by writing ``0``."""
        return [os.open(folder / "cgroup.procs", os.O_WRONLY) for folder in self._folders]

    def ran_out_of_memory(self) -> bool:
        """Return whether the system has killed a process of the group for its memory."""
        for folder in self._folders:
            for name in ("memory.events", "memory.oom_control"):
                with contextlib.suppress(OSError):
                    lines = (folder / name).read_text().splitlines()
                    return any(line.split()[0] == "oom_kill" and line.split()[1] != "0" for line in lines)
        return False

    def cpu_seconds(self) -> float:
        """Return the processor time that the group has used."""
        for folder in self._folders:
            with contextlib.suppress(OSError):
                return int((folder / "cpuacct.usage").read_text()) / 1e9
            with contextlib.suppress(OSError):
                return int((folder / "cpu.stat").read_text().split()[1]) / 1e6  # its first line: usage_usec
        return 0.0

    def remove(self) -> bool:
        """Remove the group, and return whether it is gone.

        A process that is still in it, as one whose parent was killed before it had told of it, is killed. The system
        needs a moment to see the last one off: try again then.
        """
        return all([self._remove(folder) for folder in self._folders])  # noqa: C419 - each is tried, whatever comes

    @staticmethod
    def _remove(folder: Path) -> bool:
        try:
            for pid in (folder / "cgroup.procs").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            folder.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def _write(self, name: str, value: int, *, optional: bool = False) -> None:
        """Write a setting in whichever folder has it."""
        for folder in self._folders:
            if (folder / name).exists():
                with contextlib.suppress(*([OSError] if optional else [])):
                    (folder / name).write_text(str(value))


def sweep() -> None:
    """Remove the groups that processes have left which were killed. Groups with processes stay in any case."""
    for parents in _candidates():
        for group in (group for parent in parents for group in parent.glob("kowalski-*-*")):
            if not Path("/proc", group.name.split("-")[1]).exists():
                with contextlib.suppress(OSError):
                    group.rmdir()


def _candidates() -> Iterator[list[Path]]:
    """Yield the folders below which groups may be made, the nearest first."""
    try:
        own = [line.rstrip().split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return
    paths = {controller: path for _, controllers, path in own for controller in controllers.split(",")}
    v1 = {
        option: Path(place)
        for _, place, kind, options, *_ in mounts
        if kind == "cgroup"
        for option in options.split(",")
    }
    if {"memory", "pids", "cpuacct"} <= v1.keys() & paths.keys():
        yield [v1[name] / paths[name].lstrip("/") for name in ("memory", "pids", "cpuacct")]
    for root in (Path(place) for _, place, kind, *_ in mounts if kind == "cgroup2"):
        here = root / paths.get("", "/").lstrip("/")
        # A group with processes of its own passes no controllers on, so look above it.
        for parent in (here, *here.parents):
            if parent.is_relative_to(root) and os.access(parent, os.W_OK):
                with contextlib.suppress(OSError):
                    if {"memory", "pids"} <= {*(parent / "cgroup.subtree_control").read_text().split()}:
                        yield [parent]
