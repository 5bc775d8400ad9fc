"""`%%rlm` asks a question over the user's variables; `%rlm` looks at runs."""

from __future__ import annotations

from typing import Any

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand

from kowalski_jupyter.magics.arguments import USAGE, RlmArguments, parse_line
from kowalski_jupyter.magics.bundle import Document
from kowalski_jupyter.magics.commands import run_command
from kowalski_jupyter.magics.display import display_for
from kowalski_jupyter.magics.result import RlmError, RlmResult
from kowalski_jupyter.magics.session import Session
from kowalski_jupyter.magics.variables import discard, pack_all
from kowalski_jupyter.rlm.trace import Trace
from kowalski_jupyter.service.client import ServiceClient, ServiceError
from kowalski_jupyter.service.request import RunRequest

_CANCEL_SECONDS = 2.0


@magics_class
class RlmMagics(Magics):
    """The notebook side of runs. Holds no logic that the service should have."""

    shell: InteractiveShell

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._session = Session(shell)

    @no_var_expand
    @line_cell_magic
    def rlm(self, line: str, cell: str | None = None) -> Any:
        """Ask a question over variables (`%%rlm`), or look at runs (`%rlm status`).

        The cell's body is the question, taken as it is. Usage: see `%rlm help`.
        """
        if cell is None:
            return run_command(line, self._session)
        arguments = parse_line(line)
        if not cell.strip():
            raise UsageError(f"The question is empty: write it below the line. Usage: {USAGE}")
        self._ask(arguments, cell.strip("\n"))
        return None

    def _ask(self, arguments: RlmArguments, question: str) -> None:
        client = self._session.client()
        data = pack_all(arguments.names, self.shell.user_ns, client.info.data_root)
        request = RunRequest(question, data, arguments.options, arguments.detach)
        trace = Trace()
        shown = display_for(self.shell)
        try:
            with client.run(request) as batches:
                for batch in batches:
                    for event in batch:
                        trace.apply(event)
                    shown.update(trace.document())
                    if arguments.detach and trace.run:
                        break
        except KeyboardInterrupt as interrupt:
            shown.update(_cancelled(client, trace))
            interrupt._render_traceback_ = _no_traceback  # type: ignore[attr-defined]
            raise
        except ServiceError as error:
            discard(data)
            if trace.run:
                shown.update({**trace.document(), "state": "failed", "error": str(error)})
            raise RlmError(str(error)) from None
        if not arguments.detach:
            self._finish(client, trace, arguments.output)

    def _finish(self, client: ServiceClient, trace: Trace, output: str | None) -> None:
        """Bind the answer, or raise what the run failed of."""
        if trace.state == "done":
            result = RlmResult(client.answer(trace.run), trace.document())
            self._session.last = result
            if output:
                self.shell.user_ns[output] = result.value
        elif trace.state == "cancelled":
            raise RlmError(f"Run {trace.run} was cancelled.")
        else:
            raise RlmError(trace.error)


def _cancelled(client: ServiceClient, trace: Trace) -> Document:
    """Return the run's last picture after its stream was closed."""
    try:
        return client.ended(trace.run, within=_CANCEL_SECONDS)
    except ServiceError:
        return {**trace.document(), "state": "cancelled"}


def _no_traceback() -> list[str]:
    """Return what IPython shows of an interrupt: the way through our code is nobody's concern."""
    return ["KeyboardInterrupt: the run was stopped."]


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magics; `%load_ext kowalski_jupyter` calls it."""
    shell.register_magics(RlmMagics(shell))
