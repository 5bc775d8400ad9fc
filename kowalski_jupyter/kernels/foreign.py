"""A child kernel of another language than Python: any Jupyter kernel, started, confined and ended by us."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import zmq
from jupyter_client.kernelspec import KernelSpec

from .base import Access, Calls, CellResult, DataItem, Function, KernelError, Limits, Output, PastCell
from .calls import CallServer
from .child import ChildKernel, OnOutput
from .client import KernelClient
from .convert import convert
from .installed import Installed
from .languages import Language
from .languages.language import PRELUDES, Opening, Shown
from .limiter import Limiter
from .outcome import output_of
from .pipes import read_to_end
from .provisioner import SandboxProvisioner
from .sandbox import DATA, FOLDER, Mount, Python
from .scope import Scope
from .zygote import Zygote

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_OPENING_SECONDS = 60.0
_SAID = 2000
_FLOOD = 256 << 20
"""Characters of a cell's output from which on its kernel is ended."""


class ForeignKernel(ChildKernel):
    """A kernel of `language`, as its kernelspec starts it (see `Kernel` in base.py)."""

    def __init__(
        self,
        folder: Path,
        *,
        language: Language,
        installed: Installed,
        context: zmq.Context[zmq.Socket[bytes]],
        limits: Limits,
        scope: Scope,
        python: str,
        unsandboxed: bool,
        items: Sequence[DataItem],
        access: Access,
        on_closed: Callable[[ChildKernel], None],
    ) -> None:
        super().__init__(
            folder,
            context=context,
            limits=limits,
            scope=scope,
            python=python,
            unsandboxed=unsandboxed,
            items=items,
            access=access,
            on_closed=on_closed,
        )
        self.language = language.name
        self._kind = language
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

    async def start(self, zygote: Zygote | None = None) -> None:
        """Start the process and wait until it answers; see `ChildKernel.start`."""
        if problem := self._kind.problem():
            raise KernelError(f"{self._kind.title} cannot run here: {problem}")
        await asyncio.to_thread(self._kind.prepare, self._installed.argv)
        self._make_folder()
        command = self._kind.command(self._installed.argv, self._limits)
        if self._installed.direct:
            command[0] = self._python
        reader, writer = os.pipe()
        self._provisioner = SandboxProvisioner(
            kernel_spec=KernelSpec(argv=[], language=self.language),
            limits=self._limits,
            mounts=[Mount(self._data, DATA), *self._toolchain(command), *self._mounts],
            net=self._access.net,
            unsandboxed=self._unsandboxed,
        )
        self._provisioner.scope = self._scope
        self._provisioner.zygote = zygote if zygote and zygote.shows(self._provisioner.mounts) else None
        seconds = self._kind.seconds_to_start
        try:
            options = await self._provisioner.pre_launch()
            # Only a kernel of our own needs what is installed for this Python.
            python = [self._python, "-I", *([] if self._installed.direct else ["-S"])]
            options["cmd"] = [*python, str(PRELUDES / "launch.py"), self._order(writer), *command]
            try:
                info = await self._provisioner.launch_kernel(**options, pass_fds=(writer,), stderr=-1)
            finally:
                os.close(writer)
            self._watcher = asyncio.create_task(self._await_end())
            async with asyncio.timeout(seconds):
                ready = await read_to_end(reader)
                if ready:
                    self._client = KernelClient(self._context, info, self._on_message)
                    await self._greet()
                else:
                    await self._watcher
            self._provisioner.drain()
            if not ready or self._death is not None:
                words = await self._provisioner.last_words()
                raise KernelError(f"The {self._kind.title} kernel did not start. {words or self._death or ''}".strip())
        except TimeoutError:
            raise KernelError(f"The {self._kind.title} kernel did not start within {seconds:g} s.") from None

    def _toolchain(self, command: Sequence[str]) -> list[Mount]:
        """Return what the kernel needs and the sandbox does not show yet."""
        shown: list[Path] = [Path(mount.target) for mount in Python.probe(self._python).mounts()]
        missing = []
        for mount in (Mount(PRELUDES, str(PRELUDES)), *self._kind.mounts(command)):
            if not any(Path(mount.target).is_relative_to(path) for path in shown):
                missing.append(mount)
                shown.append(Path(mount.target))
        return missing

    def _order(self, ready: int) -> str:
        """Return what launch.py is told."""
        assert self._provisioner is not None  # noqa: S101 - starting
        limits = dict(self._kind.process_limits(self._limits, self._size))
        if self._unsandboxed:
            del limits["NPROC"]  # outside of a user namespace of its own, all of the user's processes would count
        folder = self._provisioner.folder if self._unsandboxed else Path(FOLDER)
        return json.dumps(
            {
                "ready": ready,
                "direct": self._installed.direct,
                "connection": str(folder / "connection.json"),
                "environment": dict(self._kind.environment(self._limits)),
                "limits": limits,
            }
        )

    async def recall(self, cells: Sequence[PastCell]) -> None:
        """Do nothing: see `Kernel.recall`."""

    async def load(self, items: Sequence[DataItem], calls: Calls, functions: Collection[Function]) -> None:
        """Give the kernel its data and the way to its run, by a first cell; see `ChildKernel.load`."""
        assert self._provisioner is not None  # noqa: S101 - started
        inside = self._provisioner.folder if self._unsandboxed else Path(FOLDER)
        self._calls = CallServer(self._provisioner.folder / "calls.sock", calls, self._on_busy, functions)
        await self._calls.start()
        self._bound(self._kind.process_limits(self._limits, self._size)["DATA"])
        ready = await convert(items, self._kind.table_form, self._data, self._python, unsandboxed=self._unsandboxed)
        shown = []
        for number, (item, form) in enumerate(ready):
            path = self._hand_over(number, item)["path"]
            shown.append(
                Shown(self._kind.called(item.name), form, path, item.size, _start_of(item) if form == "json" else "")
            )
        opening = Opening(str(inside / "calls.sock"), self._calls.token, list(functions), shown, self._access.net)
        said: list[str] = []
        result = await self._run(self._kind.opening(opening), lambda output: said.append(output.text), _OPENING_SECONDS)
        if result.status != "ok":
            words = " ".join(said).strip().splitlines() or [result.reason]
            raise KernelError(f"The {self._kind.title} kernel could not load the data: {words[-1][:300]}")

    async def execute(self, code: str, on_output: OnOutput) -> CellResult:
        """Run one cell; see `Kernel.execute`."""
        if refusal := self._kind.refusal(code):
            on_output(Output("error", refusal))
            return CellResult("error", "refused")
        return await self._run(code, on_output, self._limits.cell_seconds)

    async def _run(self, code: str, on_output: OnOutput, seconds: float) -> CellResult:
        limiter = self._limiter = Limiter(self._limits.output, on_output)
        self._has_error = False
        result = await super()._execute(code, limiter.add, seconds)
        if result.status == "error" and not self._has_error:
            limiter.add(Output("error", await self._diagnose(code, result.reason)))
        limiter.end()
        if self._death is not None and result.status != "final":
            return CellResult("died", self._death, result.seconds)
        if result.status == "ok" and self._has_error:
            return CellResult("error", "Error", result.seconds)
        return result

    async def _diagnose(self, code: str, name: str) -> str:
        """Return what is wrong with code that the kernel has refused without a word."""
        found: list[str] = []
        if asked := self._kind.diagnosis(code):
            self._limiter = Limiter(_SAID, lambda output: found.append(output.text))
            await super()._execute(asked, self._limiter.add, self._limits.cell_seconds)
        return "".join(found).strip() or f"{name or 'Error'}: the kernel refused the code and does not say why"

    def _content(self, code: str) -> Mapping[str, Any]:
        return {
            "code": code,
            "silent": False,
            "store_history": False,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        }

    def _take_output(self, cell: Any, message: Mapping[str, Any]) -> None:
        output = output_of(message)
        if output is None:
            return
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
        """Wait for outputs that come after the end, where a kernel sends such (see `_on_message`)."""
        if not self._kind.late_outputs or self._client is None:
            self._finish()
        elif self._barrier:
            self._is_late = True
        else:
            self._raise_barrier()

    def _raise_barrier(self) -> None:
        assert self._client is not None  # noqa: S101 - a cell is running
        self._is_late = False
        self._barrier = self._client.send("shell", "kernel_info_request", {})

    def _finish(self) -> None:
        self._barrier = ""
        super()._finish()

    def _on_deadline(self) -> None:
        if self._barrier:
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

    @property
    def _timed_out(self) -> bool:
        return self._cell is not None and self._cell.stopped_by == "timeout"

    def _ask_to_stop(self) -> None:
        way = self._kind.interrupt or self._installed.interrupt
        if way == "message":
            super()._ask_to_stop()
        elif way == "end":
            limit = f"its limit of {self._limits.cell_seconds:g} s"
            self._kill(f"the cell was ended at {limit if self._timed_out else 'an interrupt'}; all variables are gone")
        elif self._provisioner is not None:
            self._provisioner.interrupt()


def _start_of(item: DataItem) -> str:
    """Return the first two characters of a JSON file: they tell its type."""
    assert item.path is not None  # noqa: S101 - JSON is in a file
    with item.path.open("rb") as file:
        return file.read(2).decode(errors="replace")
