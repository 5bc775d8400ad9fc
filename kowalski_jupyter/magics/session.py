"""What the magics of one shell share: the way to the service, the display of a run, and the last result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

from kowalski_jupyter.api.result import Result, RlmError
from kowalski_jupyter.api.rlm import RLM
from kowalski_jupyter.magics.display import display_for


class Session:
    """One shell's use of runs.

    Attributes:
        shell: the user's shell.
        last: the result of the last run that answered.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell
        self.last: Result | None = None
        self._rlm = RLM()
        self._said = ""

    def rlm(self) -> RLM:
        """Return an `RLM` without settings, for looking at runs and steering them."""
        return self._connected(self._rlm)

    def start(self, question: str, values: dict[str, Any], **settings: Any) -> None:
        """Start a run that goes on by itself, and show its beginning. Raises like `ask`."""
        with self._with(settings) as rlm:
            rlm.start(question, **values)

    def ask(
        self,
        ask: Callable[[RLM], Result],
        output: str | None = None,
        *,
        interrupted: str = "the run was stopped.",
        **settings: Any,
    ) -> None:
        """Have a run shown while it goes on, then bind its answer to the variable `output`.

        Args:
            ask: runs it; the `RLM` that it is given has the `settings`.
            output: takes the best that there was where a limit ended the run, too.
            interrupted: what is said when the user interrupts it.
            settings: of `RLM`.

        Raises:
            UsageError: a setting is wrong.
            RlmError: there is no answer.
            KeyboardInterrupt: the user's; shown without a traceback, as the way through our code is nobody's concern.
        """
        with self._with(settings) as rlm:
            try:
                self.last = ask(rlm)
            except KeyboardInterrupt as interrupt:
                interrupt._render_traceback_ = lambda: [f"KeyboardInterrupt: {interrupted}"]  # type: ignore[attr-defined]
                raise
            except RlmError as error:
                if not output or error.partial is None:
                    raise
                self.shell.user_ns[output] = error.partial
                said = f"{error} {output} holds the best that there was."
                raise RlmError(said, partial=error.partial, document=error.document) from None
        if output:
            self.shell.user_ns[output] = self.last.value

    def quiet(self, settings: dict[str, Any]) -> RLM:
        """Return an `RLM` with settings whose runs are not shown. Raises UsageError: one is wrong."""
        return self._with(settings, shown=False)

    def _with(self, settings: dict[str, Any], *, shown: bool = True) -> RLM:
        try:
            rlm = RLM(on_update=display_for(self.shell).update if shown else None, **settings)
        except ValueError as error:
            raise UsageError(str(error)) from None
        return self._connected(rlm)

    def _connected(self, rlm: RLM) -> RLM:
        """Connect, saying once in one line which service it is where it is not the server's."""
        line = rlm.connect()
        if line not in ("", self._said):
            self._said = line
            print(line)  # noqa: T201 (a line for the user)
        return rlm
