"""What a run sees of a child kernel, and what a child kernel sees of a run.

A `Kernel` is one process tree of one language that runs the code of one run, in a sandbox, and is
thrown away with it. `Kernels` (pool.py) hands them out. The code in a kernel reaches back through
`Calls`: one method for all languages, over a per-run unix socket.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

OutputKind = Literal["stdout", "stderr", "result", "display", "error"]
CellStatus = Literal["ok", "error", "final", "timeout", "died", "interrupted"]


@dataclass(frozen=True, slots=True)
class Output:
    """One piece of a cell's output, as it comes.

    `kind` is ``stdout``/``stderr`` (pieces of a stream), ``result`` (the last expression's value),
    ``display`` (a rich output) or ``error`` (a traceback, without colour codes). `omitted` counts the
    characters that the kernel cut out at the source *before* this piece, so that nobody counts wrong.
    """

    kind: OutputKind
    text: str
    omitted: int = 0


@dataclass(frozen=True, slots=True)
class CellResult:
    """How a cell ended.

    ``final``: `FINAL` was called and the cell stopped there. ``timeout``: interrupted at its limit,
    state kept. ``died``: the process is gone (crash, memory, exit) and with it all variables. `reason` says
    why, in words for the model and the user. `names` are the user-visible variables after the cell.
    """

    status: CellStatus
    reason: str = ""
    seconds: float = 0.0
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """What one child kernel may use. Sizes in bytes, times in seconds."""

    memory: int = 4 << 30
    processes: int = 64
    disk: int = 512 << 20
    output: int = 1 << 20
    cell_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class DataItem:
    """One of the user's variables on its way into a child kernel (written by `pack`, read by the prelude).

    `kind` names the encoding, `path` the file that holds it (None for ``path``, where `source` is the
    user's own file or folder, mounted read-only). `type` and `summary` describe the value to the model
    and the user: ``str``, ``1,234,567 characters, 20,112 lines``. `head` and `tail` are a short preview.
    """

    name: str
    kind: Literal["text", "bytes", "plain", "arrow", "polars", "pandas", "series", "numpy", "path"]
    type: str
    summary: str
    path: Path | None = None
    source: Path | None = None
    size: int = 0
    head: str = ""
    tail: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """The value given to `FINAL`, as data: `kind` names the encoding of `data` (see values.py)."""

    kind: Literal["json", "bytes", "arrow", "pandas", "polars", "series", "numpy"]
    type: str
    text: str
    data: bytes


class Calls(Protocol):
    """What code in a child kernel may ask of its run. The run implements it."""

    async def llm_query(self, prompt: str, options: Mapping[str, Any]) -> str:
        """Answer one prompt. Raises with a message for the model's code if it cannot."""
        ...

    async def llm_query_batched(self, prompts: Sequence[str], options: Mapping[str, Any]) -> list[Any]:
        """Answer many prompts, in order. An item that failed is ``{"error": text}``, never an exception."""
        ...

    async def final(self, answer: Answer) -> None:
        """Take the run's answer. The first one counts."""
        ...


class Kernel(Protocol):
    """A child kernel that belongs to one run."""

    @property
    def language(self) -> str:
        """``python`` …."""
        ...

    @property
    def sandbox(self) -> str:
        """What confines it, in words for the user: ``bubblewrap: no network, no files of yours …``."""
        ...

    async def execute(self, code: str, on_output: Callable[[Output], None]) -> CellResult:
        """Run one cell to its end or to its limit. One at a time. State is kept between cells.

        `on_output` is called in the event loop for each output as it comes, before this returns. Time spent
        waiting for the run (`Calls`) does not count against ``cell_seconds``. Cancelling the task
        interrupts the cell. Never raises for anything that the code does.
        """
        ...

    async def close(self) -> None:
        """Kill the process tree, close the socket, remove the files. Returns when nothing is left."""
        ...


class Kernels(Protocol):
    """Where runs get their child kernels."""

    async def start(self) -> None:
        """Begin to keep spares warm, in the background."""
        ...

    async def acquire(self, language: str, *, data: Sequence[DataItem], calls: Calls) -> Kernel:
        """Return a kernel with `data` loaded under its names (and as ``context``), ready for the first cell.

        Leaves the items' files where they are, so that a run can have another kernel when its first died.

        Raises:
            SandboxMissingError: no sandbox here and the user has not allowed to go without.
            KernelError: the kernel did not start, or could not load the data.
        """
        ...

    async def close(self) -> None:
        """Close every kernel, used or spare."""
        ...


class KernelError(Exception):
    """A child kernel could not be had. The message is for the user: what and what next."""


class SandboxMissingError(KernelError):
    """There is nothing here to confine a kernel with. The message holds the command that installs it."""
