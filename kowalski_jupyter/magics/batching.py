"""`%%rlm_batch`: one question about each of many values, with a line that says how far it is."""

from __future__ import annotations

import hashlib
import html
import time
from typing import Any, Final

from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display, update_display

from kowalski_jupyter.api.keys import task_keys
from kowalski_jupyter.api.progress import Progress
from kowalski_jupyter.api.result import RlmError
from kowalski_jupyter.magics.arguments import BatchArguments
from kowalski_jupyter.magics.session import Session
from kowalski_jupyter.magics.variables import pick_schema, pick_values

_PACE: Final = 0.1
"""Seconds between two updates of the line."""


def run_batch(session: Session, arguments: BatchArguments, question: str) -> None:
    """Run a batch and bind what the tasks came to, in their order, to the variable that `-o` names.

    Without a name of its own, a batch is known by its question, values and options: stopped, and run again as it is, it
    goes on; run again when it is through, it begins anew.

    Raises:
        UsageError: something on the line is wrong.
        RlmError: no task has an answer.
        KeyboardInterrupt: the user stopped it; what is done is kept.
    """
    namespace = session.shell.user_ns
    settings = dict(arguments.options)
    if arguments.schema:
        settings["schema"] = pick_schema(arguments.schema, namespace)
    values = pick_values(arguments.values, namespace)
    tasks = [(question, value) for value in values]
    name = arguments.name or _name_of(tasks, settings)
    line = _Line(session.shell)
    rlm = session.quiet(settings)
    try:
        results = rlm.batch(
            tasks,
            max_parallel=min(arguments.parallel, len(tasks) or 1),
            name=name,
            on_progress=line.show,
        )
    except KeyboardInterrupt as interrupt:
        interrupt._render_traceback_ = _stopped  # type: ignore[attr-defined]
        raise
    finally:
        line.end()
    found = results.values
    if not arguments.name:
        results.forget()
    failed = [each for each in found if isinstance(each, RlmError)]
    if failed and len(failed) == len(found):
        raise RlmError(f"No task has an answer. The first: {failed[0]}")
    if failed:
        print(f"{len(failed)} of {len(found)} tasks have no answer. The first: {failed[0]}")  # noqa: T201
    if arguments.output:
        namespace[arguments.output] = found


def _name_of(tasks: list[tuple[str, Any]], settings: dict[str, Any]) -> str:
    return f"cell {hashlib.blake2b(''.join(task_keys(tasks, settings)).encode(), digest_size=12).hexdigest()}"


class _Line:
    """One output that is updated in place.

    Args:
        shell: that shows it.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._rich = shell.has_trait("kernel")
        self._handle: Any = None
        self._next = 0.0
        self._last: Progress | None = None

    def show(self, progress: Progress) -> None:
        """Show how far the batch is, ten times a second at most."""
        self._last = progress
        if time.monotonic() >= self._next or progress.stopping:
            self._next = time.monotonic() + _PACE
            self._write(progress)

    def end(self) -> None:
        """Show how far it has got."""
        if self._last is not None:
            self._write(self._last)
        if not self._rich and self._last is not None:
            print()  # noqa: T201 (the line in a terminal is over)

    def _write(self, progress: Progress) -> None:
        if not self._rich:
            print(f"\r{progress}\033[K", end="", flush=True)  # noqa: T201 (a line in a terminal)
            return
        bar = f'<progress value="{progress.done}" max="{progress.total}"></progress> {html.escape(str(progress))}'
        bundle = {"text/plain": str(progress), "text/html": bar}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            update_display(bundle, raw=True, display_id=self._handle.display_id)


def _stopped() -> list[str]:
    return ["KeyboardInterrupt: stopped. What is done is kept: run the cell again as it is to go on."]
