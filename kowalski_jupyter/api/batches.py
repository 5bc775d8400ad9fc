"""Many tasks, each a run of its own, whose results are kept as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import SupportsIndex

from kowalski_jupyter.api.asking import Asking
from kowalski_jupyter.api.batch import MOST_PARALLEL, Task, in_order, read_task, run_all
from kowalski_jupyter.api.connected import told
from kowalski_jupyter.api.following import Following
from kowalski_jupyter.api.kept import KeptBatch, Outcome, Results
from kowalski_jupyter.api.keys import task_keys
from kowalski_jupyter.api.progress import Meter, Progress
from kowalski_jupyter.api.result import RlmError
from kowalski_jupyter.service.socket.asynchronous import AsyncServiceClient
from kowalski_jupyter.service.socket.wire import SentAnswer, ServiceError, ServiceGoneError


class Batches(Asking):
    """Runs many tasks at a time. See `Asking`."""

    def batch(
        self,
        tasks: Iterable[Task],
        *,
        max_parallel: int = 4,
        priorities: Sequence[int] | None = None,
        name: str | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Results:
        """Run many tasks and return what each came to, in their order.

        Ctrl+C lets those finish that run, and begins no more; a second one stops them all.

        Args:
            tasks: questions, pairs of question and context, or mappings with ``question`` and the data by name.
            max_parallel: how many may go on at a time, up to 50.
            priorities: one for each task; higher ones are begun first.
            name: keeps each result as it comes, under this name. Called again with it, after a stop or a crash, only
                the tasks that have no result are run, and those that were changed.
            on_progress: called in this thread as tasks end.

        Returns:
            For each task its `Result`, or the `RlmError` that it failed of.

        Raises:
            ValueError: `max_parallel` or `priorities` is wrong.
            RlmError: there is no service, or it went away.
        """
        if not isinstance(max_parallel, SupportsIndex) or not 1 <= max_parallel <= MOST_PARALLEL:
            raise ValueError(f"max_parallel must be a whole number from 1 to {MOST_PARALLEL}, not {max_parallel!r}.")
        all_tasks = list(tasks)
        order = in_order(len(all_tasks), priorities)
        kept = KeptBatch(name, task_keys(all_tasks, self._options) if name else [""] * len(all_tasks))
        begun = dict(kept.missing())
        meter = Meter(len(all_tasks), len(all_tasks) - len(begun), kept.failed())
        if begun:
            with told():
                address = self._connected().address

            async def one(number: int, client: AsyncServiceClient) -> bool:
                outcome = await self._outcome(client, all_tasks[number], begun[number], partial(kept.began, number))
                kept.keep(number, outcome)
                return outcome.error is not None

            jobs = [partial(one, number) for number in order if number in begun]
            try:
                run_all(
                    jobs,
                    width=max_parallel,
                    meter=meter,
                    on_progress=on_progress or (lambda _: None),
                    open_way=lambda: AsyncServiceClient(address),
                )
            except* ServiceGoneError as gone:
                again = f"; call `batch` again with name={name!r} to go on" if name else ""
                raise RlmError(f"{gone.exceptions[0]} {meter.done} of {meter.total} tasks are done{again}.") from None
        return Results(kept, len(all_tasks), self._schema)

    async def _outcome(self, client: AsyncServiceClient, task: Task, run: str, began: Callable[[str], None]) -> Outcome:
        """Return what a task comes to, or what the run came to that was begun for it earlier.

        Raises:
            ServiceGoneError: the service went away; what the task comes to is not known.
        """
        if run and (earlier := await _of_earlier(client, run)) is not None:
            return earlier
        following = Following(self._on_update, self._step, self._schema)
        sent: SentAnswer | None = None
        try:
            question, data = read_task(task)
            sent = await self._to_end(following, question, None, data, client=client, began=began)
            return Outcome(sent, None, following.conclude(None).document)
        except RlmError as error:
            if isinstance(error.__cause__, ServiceGoneError):
                raise error.__cause__ from error
            return Outcome(sent, str(error), error.document)


async def _of_earlier(client: AsyncServiceClient, run: str) -> Outcome | None:
    """Return what a run came to that an earlier call had begun; None if it did not answer: then it is run again."""
    try:
        document = await client.document(run)
        return Outcome(await client.answer(run), None, document) if document["state"] == "done" else None
    except ServiceError:
        return None
