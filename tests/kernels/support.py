"""Helpers for tests with real child kernels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kowalski_jupyter.kernels.base import (
    CLOSED,
    FUNCTIONS,
    Access,
    CellResult,
    Function,
    Kernel,
    Limits,
    Output,
    Query,
    Value,
)
from kowalski_jupyter.kernels.pack import pack
from kowalski_jupyter.kernels.pool import KernelPool
from kowalski_jupyter.kernels.values import decode_answer


@dataclass
class FakeRun:
    """Answers calls at once, and keeps what it was asked."""

    prompts: list[str] = field(default_factory=list)
    options: list[Mapping[str, Any]] = field(default_factory=list)
    queries: list[Query] = field(default_factory=list)
    answers: list[Value] = field(default_factory=list)
    shelf: dict[str, Value] = field(default_factory=dict)
    reply: Callable[[str], Coroutine[Any, Any, Any]] | None = None
    child: Callable[[Query], Value] | None = None
    most: int | None = None
    cancelled: int = 0
    checks_answer: bool = False
    starts_runs: bool = True

    async def llm_query(self, prompt: str, options: Mapping[str, Any]) -> Any:
        self.prompts.append(prompt)
        self.options.append(options)
        try:
            return await self.reply(prompt) if self.reply else f"reply to {prompt}"
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def llm_query_batched(self, prompts: Sequence[str], options: Mapping[str, Any]) -> list[Any | Exception]:
        if self.most is not None and len(self.prompts) + len(prompts) > self.most:
            raise ValueError(f"{len(prompts)} sub-calls are asked for, and {self.most - len(self.prompts)} are left")
        replies = await asyncio.gather(*(self.llm_query(p, options) for p in prompts), return_exceptions=True)
        return [reply if not isinstance(reply, BaseException) else _as_exception(reply) for reply in replies]

    async def rlm_query_batched(self, queries: Sequence[Query], options: Mapping[str, Any]) -> list[Value | Exception]:
        self.queries += queries
        self.options.append(options)
        answers: list[Value | Exception] = []
        for query in queries:
            try:
                answers.append(self.child(query) if self.child else query.context or ValueError("no context"))
            except ValueError as error:
                answers.append(error)
        return answers

    async def final(self, answer: Value) -> None:
        self.answers.append(answer)

    async def share(self, name: str, value: Value) -> None:
        self.shelf[name] = value

    async def shared(self, name: str) -> Value:
        return self.shelf[name]

    @property
    def value(self) -> Any:
        (answer,) = self.answers
        return decode_answer(answer.kind, answer.data)


def _as_exception(error: BaseException) -> Exception:
    if not isinstance(error, Exception):
        raise error
    return error


@dataclass
class Session:
    """One kernel with its run."""

    kernel: Kernel
    run: FakeRun
    pool: KernelPool
    outputs: list[Output] = field(default_factory=list)

    async def __call__(self, code: str) -> CellResult:
        """Execute `code`; `outputs` then holds what it put out."""
        self.outputs.clear()
        return await self.kernel.execute(code, self.outputs.append)

    def text(self, *kinds: str) -> str:
        return "".join(output.text for output in self.outputs if not kinds or output.kind in kinds)

    async def value(self, expression: str) -> str:
        """Return the text of an expression's value."""
        result = await self(expression)
        assert result.status == "ok", self.text()
        return self.text("result")


@asynccontextmanager
async def opened(
    root: Path,
    data: Mapping[str, Any] | None = None,
    *,
    run: FakeRun | None = None,
    limits: Limits | None = None,
    unsandboxed: bool = False,
    forks: bool = True,
    functions: Collection[Function] = FUNCTIONS,
    access: Access = CLOSED,
    language: str = "python",
    chosen: Mapping[str, str] | None = None,
) -> AsyncIterator[Session]:
    """A kernel with `data` loaded, and its pool; both are closed at the end."""
    packs = root / "packs"
    packs.mkdir(parents=True)
    pool = KernelPool(root / "runs", limits=limits, spares=0, unsandboxed=unsandboxed, forks=forks, chosen=chosen)
    try:
        items = [pack(name, value, packs) for name, value in (data or {}).items()]
        run = run or FakeRun()
        kernel = await pool.acquire(language, data=items, calls=run, functions=functions, access=access)
        yield Session(kernel, run, pool)
    finally:
        await pool.close()
    assert not list((root / "runs").glob("*")), "the kernels' data is still there"


async def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait for `condition`, and fail if it does not come."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what it looks at has no event
            await asyncio.sleep(0.01)
