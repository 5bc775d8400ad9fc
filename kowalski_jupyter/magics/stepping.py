"""`%%rlm --step`: the user's word on each block, asked for while the cell runs."""

from __future__ import annotations

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

_END = "."


def check_can_ask(shell: InteractiveShell, instead: str) -> None:
    """See that there is somebody to ask; `instead` is what the user can do if not.

    Raises:
        UsageError: what runs this cell cannot pass input on, as papermill and nbconvert.
    """
    kernel = getattr(shell, "kernel", None)
    if kernel is not None and not kernel._allow_stdin:  # noqa: SLF001 (ipykernel has no other way to ask)
        raise UsageError(f"--step asks before each block, and nobody can be asked here. {instead}")


def ask_about(language: str, code: str) -> str | None:
    """Show a block and ask whether to run it; return the code to run, or None to skip it."""
    print(f"The model wants to run this ({language}):\n{code}")  # noqa: T201 (for the user)
    while True:
        word = input("Enter runs it, s skips it, e edits it: ").strip().lower()
        if word in ("", "r", "run"):
            return code
        if word in ("s", "skip"):
            return None
        if word in ("e", "edit"):
            edited = _read_lines()
            if edited.strip():
                return edited
            print("No code was given.")  # noqa: T201


def _read_lines() -> str:
    """Read code line by line."""
    lines: list[str] = []
    line = input(f"New code, line by line; a line with only {_END} ends it: ")
    while line != _END:
        lines.append(line)
        line = input()
    return "\n".join(lines)
