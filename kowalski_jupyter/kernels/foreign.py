"""A child kernel of another language than Python: any Jupyter kernel, started, confined and ended by us."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from .base import Access, CellResult, DataItem, Function, KernelError, Output, PastCell
from .cell import Cell, OnOutput
from .child import ChildKernel, Make
from .convert import convert
from .installed import Installed
from .languages import Language
from .languages.language import Opening, Shown
from .limiter import Limiter
from .process import Setup
from .sandbox import PRELUDE, PRELUDES, Mount, Python

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_OPENING_SECONDS = 60.0
_SAID = 2000
_FLOOD = 256 << 20
"""Characters of a cell's output from which on its kernel is ended."""


class ForeignKernel(ChildKernel):
    """A kernel of `language`, as its kernelspec starts it (see `Kernel` in base.py)."""

    def __init__(
        self,
        setup: Setup,
        items: Sequence[DataItem],
        access: Access,
        on_closed: Callable[[ChildKernel], None],
        *,
        kind: Language,
        installed: Installed,
    ) -> None:
        super().__init__(setup, items, access, on_closed)
        self.language = kind.name
        self.title = kind.title
        self.seconds_to_start = kind.seconds_to_start
        self._kind = kind
        self._installed = installed
        self._size = sum(item.size for item in items if item.kind != "path")
        self._limiter: Limiter | None = None
        self._has_error = False
        self._barrier = ""
        self._is_late = False

    @property
    def forks(self) -> bool:
        """Whether it is in Python, so that the zygote may become it."""
        return self._installed.direct

    async def start(self, make: Make) -> None:
        """Start the process and wait until it answers; see `ChildKernel.start`."""
        if problem := self._kind.problem():
            raise KernelError(f"{self._kind.title} cannot run here: {problem}")
        if self._limits.memory < self._kind.least_memory:
            least, given = (f"{size / (1 << 30):g} GiB" for size in (self._kind.least_memory, self._limits.memory))
            raise KernelError(
                f"{self._kind.title} needs {least} of memory, and a kernel has {given} here: raise c.Kowalski.memory."
            )
        await self._kind.prepare(self._installed.argv)
        self._line = self._kind.command(self._installed.argv, self._limits)
        if self._installed.direct:
            self._line[0] = self._python
        await super().start(make)

    async def recall(self, cells: Sequence[PastCell]) -> None:
        """Do nothing: see `Kernel.recall`."""

    def _toolchain(self) -> list[Mount]:
        shown = [PRELUDES, *(Path(mount.target) for mount in Python.probe(self._python).mounts())]
        missing = []
        for mount in self._kind.mounts(self._line):
            if not any(Path(mount.target).is_relative_to(path) for path in shown):
                missing.append(mount)
                shown.append(Path(mount.target))
        return missing

    def _command(self, ready: int) -> list[str]:
        order = {
            "ready": ready,
            "reach": self._reach,
            "prelude": PRELUDE,
            "direct": self._installed.direct,
            "connection": str(self._inside / "connection.json"),
            "environment": dict(self._kind.environment(self._limits)),
            "limits": self._enforceable(self._kind.process_limits(self._limits, self._size)),
        }
        # Only a kernel of our own needs what is installed for this Python.
        python = [self._python, "-I", *([] if self._installed.direct else ["-S"])]
        return [*python, str(PRELUDES / "launch.py"), json.dumps(order), *self._line]

    def _memory(self, items: Sequence[DataItem]) -> int:
        del items  # its processes have their limits from the start
        return self._kind.process_limits(self._limits, self._size)["DATA"]

    async def _take_in(self, items: Sequence[DataItem], functions: Collection[Function]) -> str:
        """Run a first cell."""
        assert self._calls is not None  # noqa: S101 - loading
        folder, form = self._data.path, self._kind.table_form
        ready = await convert(items, form, folder, self._python, unsandboxed=self._unsandboxed)
        shown = []
        for number, (item, form) in enumerate(ready):
            path = self._data.hand_over(number, item)
            start = _start_of(item) if form == "json" else ""
            shown.append(Shown(self._kind.called(item.name), form, path, item.size, start))
        socket = str(self._inside / "calls.sock")
        opening = Opening(socket, self._calls.token, list(functions), shown, self._access.net)
        said: list[str] = []
        code = self._kind.opening(opening)
        result = await self._try(code, lambda output: said.append(output.text), _OPENING_SECONDS)
        if result.status == "ok":
            return ""
        return (" ".join(said).strip().splitlines() or [result.reason])[-1][:300]

    async def execute(self, code: str, on_output: OnOutput) -> CellResult:
        """Run one cell; see `Kernel.execute`."""
        if refusal := self._kind.refusal(code):
            on_output(Output("error", refusal))
            return CellResult("error", "refused")
        return await self._try(code, on_output, self._limits.cell_seconds)

    async def _try(self, code: str, on_output: OnOutput, seconds: float) -> CellResult:
        limiter = self._limiter = Limiter(self._limits.output, on_output)
        self._has_error = False
        result = await self._run(code, limiter.add, seconds)
        if result.status == "error" and not self._has_error:
            limiter.add(Output("error", await self._diagnose(code, result.reason)))
        limiter.end()
        if self._death and result.status != "final":
            return CellResult("died", self._death, result.seconds)
        if result.status == "ok" and self._has_error:
            return CellResult("error", "Error", result.seconds)
        return result

    async def _diagnose(self, code: str, name: str) -> str:
        """Return what is wrong with code that the kernel has refused without a word."""
        found: list[str] = []
        if asked := self._kind.diagnosis(code):
            self._limiter = Limiter(_SAID, lambda output: found.append(output.text))
            await self._run(asked, self._limiter.add, self._limits.cell_seconds)
        return "".join(found).strip() or f"{name or 'Error'}: the kernel refused the code and does not say why"

    def _take_output(self, cell: Cell, output: Output) -> None:
        assert self._calls is not None  # noqa: S101 - a cell is running
        if output.kind == "error" and self._calls.final:
            return  # what `FINAL` throws to end the cell
        assert self._limiter is not None  # noqa: S101 - a cell is running
        output = self._kind.understood(dataclasses.replace(output, text=_COLOURS.sub("", output.text)))
        self._has_error = self._has_error or output.kind == "error"
        cell.on_output(output)
        if output.kind == "error" and self._kind.lost(output.text):
            self._kill(f"{output.text.splitlines()[0]}; all variables are gone")
        if self._limiter.received > _FLOOD:
            self._kill("it sent far more output than it may")

    def _complete(self) -> None:
        """Wait for what a kernel still does or sends after a cell's end, where it does (see `_on_message`)."""
        if not (self._kind.late_outputs or self._stopping) or self._dialogue is None:
            self._finish()
        elif self._barrier:
            self._is_late = True
        else:
            self._raise_barrier()

    def _raise_barrier(self) -> None:
        dialogue = self._dialogue
        assert dialogue is not None  # noqa: S101 - a cell is running
        self._is_late = False
        stopping = self._stopping
        self._barrier = dialogue.execute(stopping) if stopping else dialogue.send("kernel_info_request", {})

    @property
    def _stopping(self) -> str:
        """The cell that waits until the interrupted one has stopped, "" if none has to: if it waits long, all ends."""
        is_stopped = self._cell is not None and self._cell.stopped_by is not None
        return self._kind.stopping if is_stopped else ""

    def _finish(self) -> None:
        self._barrier = ""
        super()._finish()

    def _on_deadline(self) -> None:
        if self._barrier and not self._stopping:
            self._finish()  # the cell itself was in time
        else:
            super()._on_deadline()

    def _on_message(self, channel: str, message: dict[str, Any]) -> None:
        """Take a message. A cell is over when the kernel has answered once more and no output came before that answer.

        One answer is not enough: a kernel that writes its outputs in a task of its own answers in the middle of them.
        """
        super()._on_message(channel, message)
        parent = message["parent_header"].get("msg_id")
        if self._barrier and parent == self._barrier and message["content"].get("execution_state") == "idle":
            if self._is_late:
                self._raise_barrier()
            else:
                self._finish()

    def _ask_to_stop(self) -> None:
        way = self._kind.interrupt or self._installed.interrupt
        if way == "message":
            super()._ask_to_stop()
        elif way == "end":
            assert self._cell is not None  # noqa: S101 - a cell is running
            self._kill(f"the cell was ended at {self._cell.limit}; all variables are gone")
        else:
            assert self._process is not None  # noqa: S101 - as well
            self._process.provisioner.interrupt()


def _start_of(item: DataItem) -> str:
    """Return the first two characters of a JSON file: they tell its type."""
    assert item.path is not None  # noqa: S101 - JSON is in a file
    with item.path.open("rb") as file:
        return file.read(2).decode(errors="replace")
