"""Helpers for tests with real child kernels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kowalski_jupyter.kernels.base import Answer, CellResult, Kernel, Limits, Output
from kowalski_jupyter.kernels.pack import pack
from kowalski_jupyter.kernels.pool import KernelPool
from kowalski_jupyter.kernels.values import decode_answer


@dataclass
class FakeRun:
    """Answers calls at once, and keeps what it was asked."""

    prompts: list[str] = field(default_factory=list)
    options: list[Mapping[str, Any]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    reply: Callable[[str], Coroutine[Any, Any, str]] | None = None
    cancelled: int = 0

    async def llm_query(self, prompt: str, options: Mapping[str, Any]) -> str:
        self.prompts.append(prompt)
        self.options.append(options)
        try:
            return await self.reply(prompt) if self.reply else f"reply to {prompt}"
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def llm_query_batched(self, prompts: Sequence[str], options: Mapping[str, Any]) -> list[Any]:
        async def one(prompt: str) -> Any:
            try:
                return await self.llm_query(prompt, options)
            except ValueError as error:
                return {"error": str(error)}

        return await asyncio.gather(*(one(prompt) for prompt in prompts))

    async def final(self, answer: Answer) -> None:
        self.answers.append(answer)

    @property
    def value(self) -> Any:
        (answer,) = self.answers
        return decode_answer(answer.kind, answer.data)


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
) -> AsyncIterator[Session]:
    """A kernel with `data` loaded, and its pool; both are closed at the end."""
    packs = root / "packs"
    packs.mkdir(parents=True)
    pool = KernelPool(root / "runs", limits=limits, spares=0, unsandboxed=unsandboxed)
    try:
        items = [pack(name, value, packs) for name, value in (data or {}).items()]
        run = run or FakeRun()
        kernel = await pool.acquire("python", data=items, calls=run)
        yield Session(kernel, run, pool)
    finally:
        await pool.close()
    assert not list((root / "runs").glob("*")), "the kernels' data is still there"


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait for `condition`, and fail if it does not come."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what it looks at has no event
            await asyncio.sleep(0.01)
