"""A service in a process of its own that is killed right after the n-th event of a run.

As a program: reads lines ``n store data_root`` and for each forks such a process off a warm one, answering with a line
of JSON, the events that were emitted until the kill. With n of 0 nothing is killed.
"""

from __future__ import annotations

import ast
import asyncio
import json
import os
import secrets
import signal
import sys
import types
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from kowalski_jupyter.kernels.base import (
    CLOSED,
    Access,
    Calls,
    CellResult,
    DataItem,
    Function,
    Kernels,
    Output,
    PastCell,
    Value,
)
from kowalski_jupyter.kernels.pack import pack
from kowalski_jupyter.models.base import ChatModel
from kowalski_jupyter.models.openai import OpenAIModel
from kowalski_jupyter.service.config import Kowalski
from kowalski_jupyter.service.rack import ModelRack
from kowalski_jupyter.service.request import RunRequest
from kowalski_jupyter.service.service import Service

DATA = {"notes": "n"}


class ToyKernel:
    """Runs a cell's code in this process, with ``await`` before what the run is asked for."""

    language = "python"
    sandbox = "none: a toy"
    mounts: Sequence[str] = ()

    def __init__(self, calls: Calls) -> None:
        self.names: dict[str, Any] = {"llm_query": self.ask, "llm_query_batched": self.ask_all, "FINAL": self.final}
        self.calls = calls
        self.ended = False

    async def ask(self, prompt: str) -> Any:
        return await self.calls.llm_query(prompt, {})

    async def ask_all(self, prompts: list[str]) -> list[Any]:
        return await self.calls.llm_query_batched(prompts, {})

    async def final(self, value: Any) -> None:
        self.ended = True
        await self.calls.final(Value("json", type(value).__name__, repr(value)[:100], json.dumps(value).encode()))

    async def execute(self, code: str, on_output: Callable[[Output], None]) -> CellResult:
        compiled = compile(code, "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        await types.FunctionType(compiled, self.names)()
        on_output(Output("stdout", f"{len(code)} characters\n"))
        return CellResult("final" if self.ended else "ok", names=("notes",))

    async def recall(self, cells: Sequence[PastCell]) -> None:
        pass

    async def close(self) -> None:
        pass


class ToyKernels:
    def check(self) -> None:
        pass

    async def start(self) -> None:
        pass

    async def languages(self) -> Sequence[str]:
        return ("python",)

    async def acquire(
        self,
        language: str,
        *,
        data: Sequence[DataItem],
        calls: Calls,
        functions: Collection[Function] = (),
        access: Access = CLOSED,
        seed: int = 0,
    ) -> ToyKernel:
        del language, data, functions, access, seed
        return ToyKernel(calls)

    async def close(self) -> None:
        pass


def toy_service(url: str, store: Path, root: Path, *, real_kernels: bool = False) -> Service:
    async def find(*_: object) -> ChatModel:
        return OpenAIModel(url, "scripted")

    kernels: Kernels | None = None if real_kernels else ToyKernels()
    config = Kowalski(data_root=str(root), store=str(store), spares=0)
    return Service(config, host="a process that may be killed", kernels=kernels, models=ModelRack(find))


def packed(root: Path) -> tuple[DataItem, ...]:
    folder = root / f"pack-{secrets.token_hex(4)}"
    folder.mkdir(parents=True)
    return tuple(pack(name, value, folder) for name, value in DATA.items())


async def run_until_killed(url: str, n: int, store: Path, root: Path, out: int, *, real_kernels: bool) -> None:
    service = toy_service(url, store, root, real_kernels=real_kernels)
    told = 0

    def watch() -> None:
        nonlocal told
        for event in live.log.events[told:]:  # none, where it is the devices that have changed
            os.write(out, (json.dumps(event.to_json()) + "\n").encode())
            told += 1
            if told == n:
                # Before the one who waits for it hears of the event, and after the store has: two rounds later.
                loop = asyncio.get_running_loop()
                loop.call_soon(loop.call_soon, os.kill, os.getpid(), signal.SIGKILL)

    service.watch(watch)
    live = service.start_run(RunRequest("What?", packed(root)))
    await asyncio.gather(*filter(None, [live.task]))
    await service.close()


def killed_run(url: str, n: int, store: Path, root: Path, *, real_kernels: bool = False) -> list[dict[str, Any]]:
    """Fork a process, let it run until it is killed, and return its events."""
    reading, writing = os.pipe()
    if not (pid := os.fork()):
        os.close(reading)
        asyncio.run(run_until_killed(url, n, store, root, writing, real_kernels=real_kernels))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        events = [json.loads(line) for line in told]
    _, status = os.waitpid(pid, 0)
    assert (os.WTERMSIG(status) == signal.SIGKILL) if n else status == 0, status
    return events


if __name__ == "__main__":
    server_url, kernels = sys.argv[1:]
    for line in sys.stdin:
        number, store_path, data_root = line.split()
        said = killed_run(server_url, int(number), Path(store_path), Path(data_root), real_kernels=kernels == "real")
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
