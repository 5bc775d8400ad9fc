"""The child kernel of Python: our own (prelude/), which is told of its run by a request and cuts its outputs itself."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from .base import DataItem, Function, Output, PastCell
from .cell import Cell
from .child import ChildKernel
from .prelude.limits import RICH
from .sandbox import PLAIN, PRELUDE, Python

_FLOOD = 4
"""A kernel that sends this many times the output it may has lost its limiter, and is killed."""


class PythonKernel(ChildKernel):
    """A Python kernel."""

    language = "python"
    title = "Python"
    seconds_to_start = 60.0
    in_lines = True

    @property
    def forks(self) -> bool:
        """Whether it may be forked from a zygote."""
        return True

    async def warm_up(self) -> None:
        """See `ChildKernel.warm_up`."""
        assert self._dialogue is not None  # noqa: S101 - started
        await self._dialogue.ask("warm_up_request", {})

    async def recall(self, cells: Sequence[PastCell]) -> None:
        """See `Kernel.recall`."""
        assert self._dialogue is not None  # noqa: S101 - started
        for cell in cells:  # one by one: all together may be large
            await self._dialogue.ask("recall_request", {"code": cell.code, "output": cell.output})

    def _command(self, ready: int) -> list[str]:
        program = str(Path(__file__).parent / "prelude") if self._unsandboxed else PRELUDE
        python = Python.probe(self._python)
        site = [str(python.user_site)] if python.user_site else []
        connection = str(self._inside / "connection.json")
        return [python.executable, PLAIN, program, connection, str(ready), self._reach, *site]

    def _memory(self, items: Sequence[DataItem]) -> int:
        return self._limits.memory + sum(item.size for item in items if item.kind != "path")

    async def _take_in(self, items: Sequence[DataItem], functions: Collection[Function]) -> str:
        assert self._dialogue is not None  # noqa: S101 - started
        assert self._calls is not None  # noqa: S101 - loading
        limits = self._enforceable({"AS": self._memory(items), **self._limits.of_a_process()})
        content = {
            "items": [
                {
                    "name": item.name,
                    "kind": item.kind,
                    "path": self._data.hand_over(number, item),
                    "meta": dict(item.meta),
                }
                for number, item in enumerate(items)
            ],
            "socket": str(self._inside / "calls.sock"),
            "token": self._calls.token,
            "functions": list(functions),
            "checks_answer": self._calls.checks_answer,
            "starts_runs": self._calls.starts_runs,
            "seed": self._seed,
            "limits": {"output": self._limits.output, **limits},
        }
        reply = await self._dialogue.ask("load_request", content)
        if reply.get("status") == "ok":
            return ""
        return (str(reply.get("evalue", "")).splitlines() or [self._death or "it does not say why"])[-1]

    def _take_output(self, cell: Cell, output: Output) -> None:
        cell.received += len(output.text) + (len(output.rich.data) if output.rich else 0)
        if cell.received > _FLOOD * self._limits.output + RICH + (1 << 20):
            self._kill("it sent far more output than it may")
        else:
            cell.on_output(output)
