"""What a run sees of a child kernel, and what a child kernel sees of a run.

A `Kernel` is one process tree of one language that runs the code of one run, in a sandbox, and is
thrown away with it. `Kernels` (pool.py) hands them out. The code in a kernel reaches back through
`Calls`: one method for all languages, over a per-run unix socket.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

OutputKind = Literal["stdout", "stderr", "result", "display", "error"]
CellStatus = Literal["ok", "error", "final", "timeout", "died", "interrupted"]


RichMime = Literal["image/png", "image/jpeg", "image/svg+xml", "text/html"]


@dataclass(frozen=True, slots=True)
class Rich:
    """A form of an output that is shown to the user in place of its text, harmless wherever it is shown (rich.py).

    `data` is base64 for pictures, SVG among them, and else HTML that holds structure and text alone.
    """

    mime: RichMime
    data: str


@dataclass(frozen=True, slots=True)
class Output:
    """One piece of a cell's output, as it comes.

    `kind` is ``stdout``/``stderr`` (pieces of a stream), ``result`` (the last expression's value),
    ``display`` (a rich output) or ``error`` (a traceback, without colour codes). `omitted` counts the
    characters that the kernel cut out at the source *before* this piece, so that nobody counts wrong. `text` is what
    the model reads; of what else is shown it says what that is.
    """

    kind: OutputKind
    text: str
    omitted: int = 0
    rich: Rich | None = None


@dataclass(frozen=True, slots=True)
class CellResult:
    """How a cell ended.

    ``final``: `FINAL` was called and the cell stopped there. ``timeout``: interrupted at its limit,
    state kept. ``died``: the process is gone (crash, memory, exit) and with it all variables. `reason` says
    why, in words for the model and the user. `names` are the user-visible variables after the cell. `draft` is what the
    code has put into ``answer["content"]``, if that is new and not large.
    """

    status: CellStatus
    reason: str = ""
    seconds: float = 0.0
    names: tuple[str, ...] = ()
    draft: Value | None = None


@dataclass(frozen=True, slots=True)
class PastCell:
    """A cell that a run's code ran earlier, with all that it put out."""

    code: str
    output: str


CPU_SECONDS = 3000.0 * (os.cpu_count() or 1)
"""What a hundred cells of 30 s take that keep all processors busy."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one child kernel may use. Sizes in bytes, times in seconds.

    `cell_seconds` are those of the clock, for one cell. `cpu_seconds` are those of processors, of all processes and for
    as long as the kernel lives: what code leaves running goes on between cells.
    """

    memory: int = 4 << 30
    processes: int = 64
    disk: int = 512 << 20
    output: int = 1 << 20
    cell_seconds: float = 30.0
    cpu_seconds: float = CPU_SECONDS

    def of_a_process(self) -> dict[str, int]:
        """Return what the system itself holds each process to, by the names of its limits, all but memory.

        Of processor time that is a bit more than all may have together, should nobody have added them up.
        """
        return {
            "FSIZE": self.disk,
            "NOFILE": 1024,
            "CORE": 0,
            "NPROC": self.processes,
            "CPU": math.ceil(self.cpu_seconds) + 10,
        }


@dataclass(frozen=True, slots=True)
class Access:
    """What the user, and nobody else, lets the code of one run reach besides its data.

    With `net` it has the network. `mounts` are files and folders of the user's, by their whole paths, to be read.
    """

    net: bool = False
    mounts: tuple[Path, ...] = ()


CLOSED = Access()
"""Nothing but the data."""


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
class Value:
    """A value on its way out of a child kernel, as data: `kind` names the encoding of `data` (see prelude/decode.py).

    `type` and `text` are for people: the type's name, and the value in words, cut to some 20,000 characters.
    """

    kind: Literal["json", "bytes", "arrow", "pandas", "polars", "series", "numpy", "png", "plotly"]
    type: str
    text: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Query:
    """A question for a child run, with the value that it is about, or None if the question says it all."""

    question: str
    context: Value | None = None


Function = Literal["llm_query", "rlm_query", "helpers"]
"""A group of functions in the namespace of a run's code.

``llm_query`` stands for itself, ``llm_query_batched`` and their async forms, ``rlm_query`` likewise; ``helpers`` for
``chunks``, ``search``, ``map_query``, ``vote`` and ``tree_reduce``, of which the last three need ``llm_query``.
"""
FUNCTIONS: tuple[Function, ...] = get_args(Function)


class Calls(Protocol):
    """What code in a child kernel may ask of its run. The run implements it.

    `options` holds what the code gave by keyword, as JSON: for prompts ``model`` (an id), ``schema`` (a JSON
    Schema that the reply must fulfil), ``max_tokens`` and ``sample`` (an int: the same prompt with another number is
    answered anew); for queries ``model``. The run refuses what it does not know.
    """

    @property
    def checks_answer(self) -> bool:
        """Whether `final` may refuse an answer, so that code has to wait for its word."""
        ...

    @property
    def starts_runs(self) -> bool:
        """Whether runs of their own answer queries. Else plain prompts do, so that contexts have to come as text."""
        ...

    async def llm_query(self, prompt: str, options: Mapping[str, Any]) -> Any:
        """Answer one prompt: a text, or the JSON value that ``schema`` asks for.

        Raises with a message for the model's code if it cannot.
        """
        ...

    async def llm_query_batched(self, prompts: Sequence[str], options: Mapping[str, Any]) -> list[Any | Exception]:
        """Answer many prompts, in order. An item that failed is an exception, and is never raised.

        Its attribute ``lasting``, if it has one, says that the same prompt, asked again, would fail in the same way.
        """
        ...

    async def rlm_query_batched(self, queries: Sequence[Query], options: Mapping[str, Any]) -> list[Value | Exception]:
        """Answer each query by a run of its own, in order. An item that failed is an exception, never raised."""
        ...

    async def final(self, answer: Value) -> None:
        """Take the run's answer. The first one counts."""
        ...

    async def share(self, name: str, value: Value) -> None:
        """Keep a value for the run's code in other languages: plain JSON, or bytes. Raises if there is no room."""
        ...

    async def shared(self, name: str) -> Value:
        """Return the value that is kept under `name`. Raises if there is none."""
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

    @property
    def mounts(self) -> Sequence[str]:
        """Where its code finds the files and folders that the user has mounted for the run."""
        ...

    async def execute(self, code: str, on_output: Callable[[Output], None]) -> CellResult:
        """Run one cell to its end or to its limit. One at a time. State is kept between cells.

        `on_output` is called in the event loop for each output as it comes, before this returns. Time spent
        waiting for the run (`Calls`) does not count against ``cell_seconds``. Cancelling the task
        interrupts the cell. Never raises for anything that the code does.
        """
        ...

    async def recall(self, cells: Sequence[PastCell]) -> None:
        """Let code find, as `history`, the cells that ran before this kernel was there; only Python's has that name."""
        ...

    async def close(self) -> None:
        """Kill the process tree, close the socket, remove the files. Returns when nothing is left."""
        ...


class Kernels(Protocol):
    """Where runs get their child kernels."""

    def check(self) -> None:
        """See that kernels can be had, before anything slow is done for a run.

        Raises:
            SandboxMissingError: no sandbox here and the user has not allowed to go without.
        """
        ...

    async def start(self) -> None:
        """Begin to keep spares warm, in the background."""
        ...

    async def languages(self) -> Sequence[str]:
        """Return the languages that can run here, ``python`` first."""
        ...

    async def acquire(
        self,
        language: str,
        *,
        data: Sequence[DataItem],
        calls: Calls,
        functions: Collection[Function] = FUNCTIONS,
        access: Access = CLOSED,
        seed: int = 0,
    ) -> Kernel:
        """Return a kernel with `data` loaded under its names (and as ``context``), ready for the first cell.

        Its code finds the `functions` that the run allows, and no others, and reaches what `access` says. In
        Python its global random generators start from `seed`.

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
