"""One run: from a question to an answer, a failure or a cancellation, told as events."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from kowalski_jupyter.kernels.base import Answer, DataItem, Kernel, KernelError, Kernels
from kowalski_jupyter.models.base import (
    ChatModel,
    Message,
    ModelError,
    ModelUnreachableError,
    Report,
    Sampling,
)
from kowalski_jupyter.rlm import events as ev
from kowalski_jupyter.rlm.asking import ask
from kowalski_jupyter.rlm.log import EventLog
from kowalski_jupyter.rlm.loop import Loop, TurnLimitError
from kowalski_jupyter.rlm.settings import RunSettings
from kowalski_jupyter.rlm.subcalls import RunCalls
from kowalski_jupyter.rlm.thoughts import strip_thoughts

_SUBCALLS_PER_PLACE = 100

OpenModel = Callable[[Report], Awaitable[ChatModel]]


class Run:
    """A run and its events. The service starts `execute` as a task and cancels that task to stop it.

    Args:
        run_id: names the run.
        question: what the user asked, never interpolated.
        data: the user's variables; with none the question goes to the model as it is.
        settings: limits and sampling.
        open_model: makes the root model ready; also answers the sub-calls.
        kernels: where child kernels come from.
        log: takes the events.
        host: which process this is, in words.

    Attributes:
        answer: the answer, once there is one.
        model_lost: whether the model's server was gone, so that a new one should be looked for.
    """

    def __init__(
        self,
        run_id: str,
        question: str,
        data: Sequence[DataItem],
        settings: RunSettings,
        *,
        open_model: OpenModel,
        kernels: Kernels,
        log: EventLog,
        host: str,
    ) -> None:
        self.id = run_id
        self.question = question
        self.data = data
        self.settings = settings
        self.log = log
        self.answer: Answer | None = None
        self.model_lost = False
        self._open_model = open_model
        self._kernels = kernels
        self._host = host
        self._kernel: Kernel | None = None
        self._emit = log.append

    async def execute(self) -> None:
        """Run to the end. Every outcome is a `RunFinished` event; only cancellation and bugs are raised again.

        Returns when the child kernel is gone, which is after that event: nobody has to watch it die.
        """
        started = time.monotonic()
        self._emit(
            ev.RunStarted(
                self.id,
                self.question,
                "loop" if self.data else "direct",
                self._host,
                [{"name": d.name, "type": d.type, "summary": d.summary} for d in self.data],
                self.settings.max_turns,
                self.settings.max_seconds,
            )
        )
        state: Literal["done", "failed", "cancelled"] = "failed"
        error = ""
        try:
            async with asyncio.timeout(self.settings.max_seconds):
                await self._answer()
            state = "done"
        except asyncio.CancelledError:
            state, error = "cancelled", "The run was cancelled."
            raise
        except TimeoutError:
            error = (
                f"No answer within the time limit of {self.settings.max_seconds:g} s. "
                "Give it more with --timeout SECONDS."
            )
        except ModelUnreachableError as failure:
            self.model_lost = True
            error = str(failure)
        except (TurnLimitError, ModelError, KernelError) as failure:
            error = str(failure)
        except OSError as failure:
            error = f"The system refused: {failure}. Free what is short (disk, memory, files) and run again."
        except Exception as failure:
            error = f"Unexpected {type(failure).__name__}: {failure}. Please report this; the server's log has more."
            raise
        finally:
            self._emit(ev.RunFinished(state, error, time.monotonic() - started))
            if self._kernel is not None:
                await asyncio.shield(self._kernel.close())

    async def _answer(self) -> None:
        model = await self._open_model(lambda *news: self._emit(ev.Progress(*news)))
        self._emit(ev.ModelReady(model.name, model.where))
        answer = await (self._loop(model) if self.data else self._ask_directly(model))
        self.answer = answer
        self._emit(ev.Answered(answer.type, answer.text))

    async def _loop(self, model: ChatModel) -> Answer:
        settings = self.settings
        calls = RunCalls(
            model,
            self._emit,
            seed=settings.seed,
            max_tokens=settings.subcall_tokens,
            temperature=settings.temperature,
            most=settings.max_subcalls or _SUBCALLS_PER_PLACE * model.width,
        )

        async def new_kernel() -> Kernel:
            if self._kernel is not None:
                await self._kernel.close()
            self._kernel = await self._kernels.acquire("python", data=self.data, calls=calls)
            self._emit(ev.KernelReady(self._kernel.language, self._kernel.sandbox))
            return self._kernel

        try:
            loop = Loop(
                self.question,
                self.data,
                settings,
                model=model,
                kernel=await new_kernel(),
                new_kernel=new_kernel,
                calls=calls,
                emit=self._emit,
            )
            return await loop.run()
        finally:
            calls.stop()

    async def _ask_directly(self, model: ChatModel) -> Answer:
        """Ask without a loop: no data was named, so there is nothing for code to look at."""
        self._emit(ev.TurnStarted(1))
        sampling = Sampling(
            max_tokens=self.settings.reply_tokens,
            temperature=self.settings.temperature,
            seed=self.settings.seed,
        )
        asked = await ask(model, [Message("user", self.question)], sampling, turn=1, emit=self._emit)
        text = strip_thoughts(asked.message["content"]).strip()
        if not text:
            raise ModelError("The model's reply was empty. Run the cell again, or try another model.")
        return Answer("json", "str", text, json.dumps(text).encode())
