"""The loop: prompt → reply → code → outputs → next prompt, until the code calls FINAL."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from kowalski_jupyter.kernels.base import DataItem, Output, RichMime, Value
from kowalski_jupyter.models.base import Message, ModelError, ModelTooLongError, Sampling
from kowalski_jupyter.rlm import events as ev
from kowalski_jupyter.rlm.asking import ask
from kowalski_jupyter.rlm.budget import Budget
from kowalski_jupyter.rlm.calls.subcalls import RunCalls
from kowalski_jupyter.rlm.chat import feedback
from kowalski_jupyter.rlm.chat.feedback import CellRecord
from kowalski_jupyter.rlm.chat.folding import make_room, note_of
from kowalski_jupyter.rlm.chat.history import History
from kowalski_jupyter.rlm.chat.prompts import Profile, first_message, fit
from kowalski_jupyter.rlm.endpoints import Endpoint
from kowalski_jupyter.rlm.kernels import MAIN, RunKernels
from kowalski_jupyter.rlm.protocol import Block, ProblemKind, Reply, parse_reply
from kowalski_jupyter.rlm.protocol.thoughts import strip_thoughts
from kowalski_jupyter.rlm.settings import RunSettings
from kowalski_jupyter.rlm.steering import Steering

_RICH = 32 << 20
"""Characters of pictures and tables that a run may show: each is kept as long as the run is."""
_STEP = 0.3
"""Added to the temperature for each reply in a row that led nowhere, as the same prompt gives the same again."""


class Loop:
    """The turns of one run.

    Args:
        question: what the user asked.
        data: what the kernel holds for it.
        settings: limits and sampling.
        opening: the messages that the chat starts with.
        profile: how much the model may say and be shown.
        endpoint: the root model.
        budget: what the run may spend.
        steering: the user's hand.
        kernels: run the code; `data` is in them.
        calls: answers the code's sub-calls and takes its answer.
        judge: asked, with the turn, why an answer is not to be taken; it returns nothing if it is.
        emit: takes the events.
        schema: what the answer must fulfil.

    Attributes:
        draft: what the code had in ``answer["content"]`` when a cell last ended, or an answer since that was not taken:
            the best there is when a limit ends the run and its kernel cannot be asked.
        last_output: what the last cell that ended well has shown: the best there is without a draft.
    """

    def __init__(
        self,
        question: str,
        data: Sequence[DataItem],
        settings: RunSettings,
        *,
        opening: Sequence[Message],
        profile: Profile,
        endpoint: Endpoint,
        budget: Budget,
        steering: Steering,
        kernels: RunKernels,
        calls: RunCalls,
        judge: Callable[[int, Value], Awaitable[str]],
        emit: Callable[[ev.Event], None],
        schema: Mapping[str, Any] | None,
    ) -> None:
        self.draft: Value | None = None
        self.last_output = ""
        self._question = question
        self._settings = settings
        self._endpoint = endpoint
        self._budget = budget
        self._steering = steering
        self._kernels = kernels
        self._calls = calls
        self._judge = judge
        self._emit = emit
        self._profile = profile
        self._fit()
        named = feedback.sees_pictures(endpoint.model.name)
        self._sees = named if settings.images is None else settings.images
        self._several = profile.several_languages and len(kernels.languages) > 1
        self._thinks = profile.thinks
        self._data_names = (*(item.name for item in data), *(("context",) if data else ()))
        self._names = self._data_names
        self._sent: set[str] = set()
        self._missed: set[str] = set()
        self._stuck = 0
        self._errors = 0
        self._rich_room = _RICH
        first = first_message(question, data, kernels.mounts, net="net" in settings.allow, schema=schema)
        self._history = History([*opening, Message("user", first)])

    async def run(self) -> Value:
        """Go round until there is an answer.

        Raises:
            LimitReachedError: there was none within the turns, or too many in a row failed.
            ModelError: the root model failed.
        """
        for turn in itertools.count(1):
            self._budget.check_turn(turn, self._errors)
            await self._make_room(turn)
            self._emit(ev.TurnStarted(turn))
            try:
                text, reply, cells = await self._turn(turn)
            except ModelTooLongError as error:
                text, reply, cells = await self._turn_in_less(turn, error)
            refusal = ""
            if (answer := self._calls.answer) is not None:
                refusal = await self._judge(turn, answer)
                if not refusal:
                    return answer
                self.draft, self._calls.answer = answer, None
            self._respond(turn, text, reply, cells, refusal)
        raise AssertionError

    def _fit(self) -> None:
        """Set how much the model may say and be shown, by what is known of its window."""
        profile = fit(self._profile, self._endpoint.window)
        self._reply_tokens = self._settings.reply_tokens or profile.reply_tokens
        self._output_chars = self._settings.output_chars or profile.output_chars

    async def _make_room(self, turn: int, *, refused: bool = False) -> None:
        await make_room(
            self._history,
            self._endpoint,
            turn=turn,
            names=self._names,
            reply_tokens=self._reply_tokens,
            seed=self._settings.seed * 1000 + turn,
            emit=self._emit,
            refused=refused,
        )

    async def _turn_in_less(self, turn: int, refusal: ModelTooLongError) -> tuple[str, Reply, list[CellRecord]]:
        """Ask again, once, after the chat was refused as too long; the refusal may have told the window."""
        before = self._history.messages, self._reply_tokens
        self._fit()
        await self._make_room(turn, refused=True)
        if (self._history.messages, self._reply_tokens) != before:
            try:
                return await self._turn(turn)
            except ModelTooLongError as error:
                refusal = error
        raise ModelError(
            f"{refusal.what}. Not the data but the chat of the run is too long for the model's window, and cannot be "
            "made shorter: give the model a larger window at its server, take another model, or shorten the question."
        ) from refusal

    async def _turn(self, turn: int) -> tuple[str, Reply, list[CellRecord]]:
        """Ask once and run what the reply holds; a whole block runs while the reply still comes in."""
        running: list[asyncio.Task[CellRecord | None]] = []

        def start(block: Block) -> None:
            before = running[-1] if running else None
            running.append(asyncio.create_task(self._run_after(before, turn, len(running) + 1, block)))

        try:
            asked = await ask(
                self._endpoint,
                self._history.messages,
                Sampling(
                    max_tokens=self._reply_tokens,
                    temperature=min(1.0, self._settings.temperature + _STEP * self._stuck),
                    seed=self._settings.seed * 1000 + turn,
                ),
                turn=turn,
                emit=self._emit,
                languages=self._kernels.languages,
                on_block=start,
                on_opened=self._kernels.prepare,
                several=self._several,
                thinks=self._thinks,
                has_answer=lambda: self._calls.answer is not None,
            )
            reply = parse_reply(
                asked.message,
                finish_reason=asked.finish_reason,
                defined=self._names,
                languages=self._kernels.languages,
                segments=asked.segments,
            )
            text = strip_thoughts(asked.message["content"])
            blocks = [*reply.blocks, *_answer_block(reply)]
            for block in blocks[len(running) : _runnable(blocks, several=self._several)]:
                start(block)
            records = [await task for task in running]
            return text, reply, [record for record in records if record]
        except BaseException:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            raise

    async def _run_after(
        self, before: asyncio.Task[CellRecord | None] | None, turn: int, number: int, block: Block
    ) -> CellRecord | None:
        """Run a block if the one before it has ended well and there is no answer yet."""
        if before is not None:
            record = await before
            if record is None or record.skipped or record.failed or self._calls.answer is not None:
                return None
        return await self._run_cell(turn, number, block)

    async def _run_cell(self, turn: int, number: int, block: Block) -> CellRecord:
        cell = f"{turn}.{number}"
        if self._settings.step:
            with self._budget.paused():
                allowed = await self._steering.approve(turn, cell, block)
            if allowed is None:
                return CellRecord(block.language, block.code, skipped=True)
            block = allowed
        record = CellRecord(block.language, block.code)
        self._calls.cell = cell
        self._emit(ev.CellStarted(turn, cell, block.language, block.code))

        def on_output(output: Output) -> None:
            record.outputs.append(output)
            self._emit(ev.CellOutput(cell, output.kind, output.text, output.omitted, *self._shown(output)))

        result = await self._kernels.execute(block.language, block.code, on_output)
        record.result = result
        self.draft = result.draft or self.draft
        self._emit(ev.CellFinished(cell, result.status, result.reason, result.seconds))
        if block.language == MAIN:
            self._names = self._data_names if result.status == "died" else result.names or self._names
        return record

    def _shown(self, output: Output) -> tuple[RichMime, str] | tuple[()]:
        """Return MIME type and data of what an output shows besides its text, if there is room for it in the run."""
        rich = output.rich
        if rich is None or len(rich.data) > self._rich_room:
            return ()
        self._rich_room -= len(rich.data)
        return rich.mime, rich.data

    def _respond(self, turn: int, text: str, reply: Reply, cells: Sequence[CellRecord], refusal: str) -> None:
        """Tell the model what came of its reply; `refusal` says why its answer was not taken, if it gave one."""
        self._tell_of_missing(reply)
        code = "\n".join(block.code for block in reply.blocks) or text
        again = code in self._sent
        self._sent.add(code)
        failed = any(cell.failed for cell in cells)
        self._stuck = self._stuck + 1 if again or not cells else 0
        self._errors = self._errors + 1 if failed or refusal or not cells else 0
        shown = "\n".join(cell.text(self._output_chars) for cell in cells)
        if shown and not failed:
            self.last_output = shown
        turns_left = self._budget.turns_left(turn)
        if not turns_left:
            return
        notes = self._steering.take_notes()
        if again and failed and turns_left > 1 and not notes:
            self._history.forget_last()
            self._emit(ev.Notice("The model repeated a block that had failed; it is asked anew, sampled more freely."))
            return
        left = self._budget.left(turn)
        if cells or refusal:
            said = feedback.after_cells(
                cells,
                question=self._question,
                turns_left=turns_left,
                left=left,
                limit=self._output_chars,
                refusal=refusal,
                again=again,
                more=len(reply.blocks) > len(cells),
            )
        else:
            said = feedback.after_trouble(reply, turns_left=turns_left, left=left)
        said = feedback.with_notes(said, notes)
        self._emit(ev.Feedback(turn, said, trouble=not cells))
        images = feedback.pictures(cells) if self._sees else ()
        note = functools.partial(note_of, turn, text, "\n".join(cell.code for cell in cells), shown)
        self._history.add(text, said, note, images)

    def _tell_of_missing(self, reply: Reply) -> None:
        """Tell the user, once for each language, what the model would have used."""
        for problem in reply.problems:
            if problem.kind is ProblemKind.UNAVAILABLE_LANGUAGE and problem.detail not in self._missed:
                self._missed.add(problem.detail)
                add = f"`jupyter kowalski kernels add {problem.detail}` installs one"
                self._emit(ev.Notice(f"The model wrote {problem.detail}, which has no kernel here; {add}."))


def _runnable(blocks: Sequence[Block], *, several: bool) -> int:
    """Return how many of a reply's blocks run: the first, and, with `several`, those in other languages after it.

    A second block in the language of the one before it is written without having seen that one's output.
    """
    most = len(blocks) if several else 1
    return next((i for i in range(1, most) if blocks[i].language == blocks[i - 1].language), min(most, len(blocks)))


def _answer_block(reply: Reply) -> list[Block]:
    """Return the code that gives an answer written as text, so that all answers come from the kernel."""
    if reply.final is None:
        return []
    source = repr(reply.final.value) if reply.final.kind == "text" else reply.final.value
    return [Block("python", f"FINAL({source})")]
