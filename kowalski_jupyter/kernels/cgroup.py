"""A control group around one child kernel, where this user may make one.

Only a control group bounds what all processes of a kernel use together, and only it stops a fork bomb
that root's kernel starts (RLIMIT_NPROC does not count root's processes). Without one, each process has
its own limits.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .base import Limits
from .watch import OVERHEAD, SLACK

CONTROLLERS = ("memory", "pids")
"""What bounds a kernel, as version 2 calls it. Processor time is added up there by any group."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a group may be made: in one folder (version 2) or in one per controller (version 1).

    Where who starts a kernel may not enter the group, `let_in` makes of the group's name a command line that lets a
    process in, whose id ends it.
    """

    folders: Sequence[Path]
    let_in: Callable[[str], Sequence[str]] | None = None


class Cgroup:
    """The control group of one kernel."""

    def __init__(self, name: str, place: Place) -> None:
        self._folders = [folder / name for folder in place.folders]
        self._let_in = place.let_in
        self.folder = self._folders[0]

    @classmethod
    def create(cls, limits: Limits, first: Place | None = None) -> Cgroup | None:
        """Return a new group with `limits`, or None where that is not allowed.

        It is made in the place `first`, if there is one, or else near this process's own group.
        """
        name = f"kowalski-{os.getpid()}-{secrets.token_hex(6)}"
        for place in [*([first] if first else []), *_places()]:
            group = cls(name, place)
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
        """Return the command line that enters the group and then becomes `command`: see `holds` whether it could."""
        if self._let_in is not None:
            script = f'{shlex.join(self._let_in(self.folder.name))} $$ > /dev/null 2>&1; exec "$@"'
            return ["/bin/sh", "-c", script, "sh", *command]
        files = [str(folder / "cgroup.procs") for folder in self._folders]
        script = f'i=0; while [ $i -lt {len(files)} ]; do echo $$ > "$1" || exit 71; shift; i=$((i+1)); done; exec "$@"'
        return ["/bin/sh", "-c", script, "sh", *files, *command]

    def entrances(self) -> list[int]:
        """Return descriptors by which whoever has them enters the group: by writing ``0``."""
        return [os.open(folder / "cgroup.procs", os.O_WRONLY) for folder in self._folders]

    def holds(self, process: int) -> bool:
        """Return whether a process that was to be let in is in the group; True as well if it has ended since."""
        group = group_of(process).get("")
        return self._let_in is None or group is None or Path(group).name == self.folder.name

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
    for place in _places():
        for group in (group for parent in place.folders for group in parent.glob("kowalski-*-*")):
            if not Path("/proc", group.name.split("-")[1]).exists():
                with contextlib.suppress(OSError):
                    group.rmdir()


def unified() -> Path | None:
    """Return where the groups of version 2 are."""
    return next((place for place, kind, _ in _mounts() if kind == "cgroup2"), None)


def group_of(process: int | str = "self") -> dict[str, str]:
    """Return a process's group by each controller; version 2's has an empty name."""
    try:
        own = [line.rstrip().split(":", 2) for line in Path(f"/proc/{process}/cgroup").read_text().splitlines()]
    except OSError:
        return {}
    return {controller: path.lstrip("/") for _, controllers, path in own for controller in controllers.split(",")}


def _mounts() -> list[tuple[Path, str, list[str]]]:
    """Return where what kinds of file systems are, with their options."""
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return []
    return [(Path(place), kind, options.split(",")) for _, place, kind, options, *_ in map(str.split, lines)]


def _places() -> Iterator[Place]:
    """Yield the places where groups may be made, the nearest first."""
    own, mounts = group_of(), _mounts()
    v1 = {option: place for place, kind, options in mounts if kind == "cgroup" for option in options}
    if {"memory", "pids", "cpuacct"} <= v1.keys() & own.keys():
        yield Place([v1[name] / own[name] for name in ("memory", "pids", "cpuacct")])
    for root in (place for place, kind, _ in mounts if kind == "cgroup2"):
        here = root / own.get("", "")
        # A group with processes of its own passes no controllers on, so look above it.
        for parent in (here, *here.parents):
            if parent.is_relative_to(root) and os.access(parent, os.W_OK):
                with contextlib.suppress(OSError):
                    if {*CONTROLLERS} <= {*(parent / "cgroup.subtree_control").read_text().split()}:
                        yield Place([parent])
