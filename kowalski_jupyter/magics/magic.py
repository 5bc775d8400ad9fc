"""`%%rlm` asks a question over the user's variables; `%rlm` looks at runs, steers them and goes on with them."""

from __future__ import annotations

from typing import Any

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, cell_magic, line_cell_magic, magics_class, no_var_expand

from kowalski_jupyter.api.result import Result
from kowalski_jupyter.api.rlm import RLM
from kowalski_jupyter.magics.again import branch
from kowalski_jupyter.magics.arguments import RlmArguments, parse_batch_line, parse_line
from kowalski_jupyter.magics.batching import run_batch
from kowalski_jupyter.magics.commands import run_command
from kowalski_jupyter.magics.session import Session
from kowalski_jupyter.magics.steering import run_edited
from kowalski_jupyter.magics.stepping import ask_about, check_can_ask
from kowalski_jupyter.magics.variables import pick, pick_schema


@magics_class
class RlmMagics(Magics):
    """The notebook side of runs: words on a line become calls of `RLM`, and nothing else."""

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
            raise UsageError("The question is empty: write it below the line.")
        self._ask(arguments, cell.strip("\n"))
        return None

    @no_var_expand
    @cell_magic
    def rlm_batch(self, line: str, cell: str) -> None:
        """Ask the cell's question about each of many values (`%%rlm_batch frame.column -o results`).

        Interrupting the cell lets finish what runs; run again, it goes on with what is missing.
        """
        arguments = parse_batch_line(line)
        if not cell.strip():
            raise UsageError("The question is empty: write it below the line.")
        run_batch(self._session, arguments, cell.strip("\n"))

    @no_var_expand
    @cell_magic
    def rlm_reply(self, line: str, cell: str) -> None:
        """`%%rlm_reply ID TURN`: branch off from a run as if the model had replied with the cell's body."""
        branch(self._session, line, cell)

    @no_var_expand
    @cell_magic
    def rlm_code(self, line: str, cell: str) -> None:
        """`%%rlm_code ID`: run the cell's body in place of the block that waits in a run with --step."""
        run_edited(self._session, line, cell)

    def _ask(self, arguments: RlmArguments, question: str) -> None:
        if arguments.detach and arguments.output:
            raise UsageError(
                f"With --detach there is no answer yet to put into {arguments.output}. Leave -o out, and have "
                f"`%rlm attach ID -o {arguments.output}` wait for it."
            )
        values = pick(arguments.names, self.shell.user_ns)
        settings = dict(arguments.options)
        if arguments.schema:
            settings["schema"] = pick_schema(arguments.schema, self.shell.user_ns)
        if arguments.detach:
            self._session.start(question, values, step=arguments.step or None, **settings)
            return
        if arguments.step:
            check_can_ask(self.shell, "Leave it out, or add --detach and decide with %rlm step ID run.")
            settings["step"] = ask_about

        def ask(rlm: RLM) -> Result:
            return rlm.run(question, **values)

        self._session.ask(ask, arguments.output, **settings)


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magics; `%load_ext kowalski_jupyter` calls it."""
    shell.register_magics(RlmMagics(shell))
