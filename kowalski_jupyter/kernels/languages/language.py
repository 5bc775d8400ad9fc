"""What the table of languages says of each."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from kowalski_jupyter.kernels.base import Limits, Output
from kowalski_jupyter.kernels.sandbox import PRELUDES, Mount

Form = Literal["text", "bytes", "json", "csv", "path"]
"""How a variable's file is written for a language: UTF-8, bytes, JSON (tables as records), CSV, or not at all."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One of the user's variables, as a kernel finds it: `size` bytes at `path`, which begin with `start`."""

    name: str
    form: Form
    path: str
    size: int
    start: str = ""


@dataclass(frozen=True, slots=True)
class Opening:
    """What a kernel's prelude is told of its run; `net` is whether the user has allowed it the network."""

    socket: str
    token: str
    functions: Sequence[str]
    items: Sequence[Shown]
    net: bool = False

    def json(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))


class Language:
    """A language whose kernel somebody else has made.

    Attributes:
        name: canonical; what events and the parser call it.
        title: for people.
        tags: of the fences whose code it is.
        kernelspecs: names that are looked for first; after them any installed kernel of the language serves.
        table_form: how tables are written for it; other data without a form of its own is JSON.
        seconds_to_start: how long its kernel may take.
        interrupt: how a cell is stopped: "" for what the kernelspec says, ``end`` if only the kernel's end does it.
        stopping: a cell that returns when no interrupted cell's code runs any more, "" where an interrupt sees to it.
        reserved: names that no variable can have there.
        trial: a cell that shows 42.
        least_memory: bytes without which its kernel does not start or soon ends.
        late_outputs: whether its kernel sends outputs of a cell after it has said that the cell has ended.
    """

    name: str
    title: str
    tags: tuple[str, ...]
    kernelspecs: tuple[str, ...] = ()
    table_form: Form = "json"
    seconds_to_start: float = 60.0
    interrupt: Literal["", "message", "signal", "end"] = ""
    stopping: str = ""
    reserved: frozenset[str] = frozenset()
    trial: str = ""
    least_memory: int = 0
    late_outputs: bool = False

    async def prepare(self, argv: Sequence[str]) -> None:
        """Do what has to be done once before its kernel, whose kernelspec says `argv`, starts.

        Raises:
            KernelError: it failed.
        """

    def command(self, argv: Sequence[str], limits: Limits) -> list[str]:  # noqa: ARG002 - others need them
        """Return the command line of its kernel, whose kernelspec says `argv`; the program by its full path."""
        program, *rest = argv
        return [shutil.which(program) or program, *rest]

    def environment(self, limits: Limits) -> Mapping[str, str]:  # noqa: ARG002 - others need them
        """Return what its kernel finds in its environment besides what all find."""
        return {}

    def process_limits(self, limits: Limits, data: int) -> Mapping[str, int]:
        """Return the limits of each of its processes, by the names of Python's `resource`; `data` is the data's size.

        DATA rather than AS: engines reserve far more address space than they use.
        """
        return {"DATA": limits.memory + data, **limits.of_a_process()}

    def mounts(self, command: Sequence[str]) -> list[Mount]:
        """Return what has to be visible for `command` to run, besides the system and the Python of the kernels."""
        real = dict.fromkeys(path for part in command if part[:1] == "/" for path in (Path(part), Path(part).resolve()))
        return [Mount(path, str(path)) for path in real if path.exists() and path.parts[1] != "usr"]

    def called(self, name: str) -> str:
        """Return what a variable of that name in Python is called there."""
        return f"{name}_" if name in self.reserved else name

    def opening(self, run: Opening) -> str:
        """Return the code of a first cell, after which the run's functions and data are there."""
        raise NotImplementedError

    def refusal(self, code: str) -> str:  # noqa: ARG002 - others need it
        """Say why `code` is not run at all, or ""."""
        return ""

    def understood(self, output: Output) -> Output:
        """Return what an output of its kernel means."""
        return output

    def lost(self, error: str) -> bool:  # noqa: ARG002 - others need it
        """Return whether an error says that the variables are gone although the kernel is there."""
        return False

    def diagnosis(self, code: str) -> str:  # noqa: ARG002 - others need it
        """Return a cell that shows what is wrong with `code`, which its kernel refused without a word, or ""."""
        return ""

    def version(self, argv: Sequence[str]) -> str:
        """Return what its kernel, whose kernelspec says `argv`, runs, with the version."""
        return first_line([argv[0], "--version"]) or Path(argv[0]).name

    def complete(self) -> bool:
        """Return whether everything is there that `kernels add` brings besides the kernel."""
        return True

    def problem(self) -> str:
        """Say what is missing for its kernel besides the kernel itself, and what to do; "" if nothing is."""
        return ""


class Python(Language):
    """Our own kernel (prelude/), which is always there and is started in its own way."""

    name = "python"
    title = "Python"
    tags = ("repl", "python", "py", "python3", "py3", "ipython", "ipython3")


def first_line(command: Sequence[str]) -> str:
    """Return the first line that a program prints, "" if it does not run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ""
    return next(iter((done.stdout or done.stderr).splitlines()), "") if not done.returncode else ""


def prelude(name: str) -> str:
    """Return the text of a file of `PRELUDES`."""
    return (PRELUDES / name).read_text(encoding="utf-8")
