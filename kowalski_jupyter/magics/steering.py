"""`%rlm tell`, `allow` and `step`: the user's hand on a run that goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from IPython.core.error import UsageError

from kowalski_jupyter.magics.arguments import LineParser, add_limits
from kowalski_jupyter.magics.session import Session
from kowalski_jupyter.rlm.events import ApprovalAsked

ALLOW = "%rlm allow ID [--max-turns N] [--timeout S] [--max-subcalls N] [--max-tokens-in N] [--max-tokens-out N]"
_CODE = "%%rlm_code ID, and below it the code"


def tell(session: Session, run: str, note: str) -> None:
    """Add a note for the model's next turn."""
    session.rlm().tell(run, note)


def allow(session: Session, run: str, words: Sequence[str]) -> None:
    """Raise the limits that stand on the line."""
    parser = LineParser(ALLOW)
    add_limits(parser)
    limits = {name: value for name, value in parser.read(words).items() if value is not None}
    if not limits:
        raise UsageError(f"Say what to raise. Usage: {ALLOW}")
    session.rlm().allow(run, **limits)


def step(session: Session, run: str, decision: Literal["run", "skip"]) -> None:
    """Give the word on the block that waits."""
    session.rlm().decide(run, decision)


def edit(session: Session, run: str) -> None:
    """Put the block that waits into a cell below, which runs what the user makes of it."""
    asked = [event for event in session.rlm().events(run) if isinstance(event, ApprovalAsked)]
    if not asked:
        raise UsageError(f"No block of run {run} waits. A run asks for a word only when it was started with --step.")
    session.shell.set_next_input(f"%%rlm_code {run}\n{asked[-1].code}")


def run_edited(session: Session, line: str, code: str) -> None:
    """Have the block that waits run as `code`; the line names the run."""
    words = line.split()
    if len(words) != 1:
        raise UsageError(f"Usage: {_CODE}")
    session.rlm().decide(words[0], "edit", code)
