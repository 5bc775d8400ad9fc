"""Bash: a small kernel of our own, in preludes/bash_kernel.py, which says why."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Mapping, Sequence

from kowalski_jupyter.kernels.base import Limits
from kowalski_jupyter.kernels.sandbox import PRELUDES

from .language import Form, Language, Opening, first_line

INLINE = 1 << 17
"""Bytes of a text up to which it is a variable as well as a file: more makes every command's start slow."""


class Bash(Language):
    """Everything is a text or a file: ``$notes`` is the text where it is short, ``$notes_file`` is always its path."""

    name = "bash"
    title = "Bash"
    tags = ("bash", "sh", "shell")
    kernelspecs = ("kowalski-bash", "bash")
    table_form: Form = "csv"
    trial = "echo $((6 * 7))"

    def environment(self, limits: Limits) -> Mapping[str, str]:
        """Say how much of a cell's output is wanted."""
        return {"KOWALSKI_OUTPUT": str(limits.output)}

    def called(self, name: str) -> str:
        """Return the name without what the shell does not take, and not one that it lives by (``PATH``, ``IFS`` …)."""
        plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
        return f"{plain}_" if plain.isupper() or plain in ("_", "exit") else plain

    def opening(self, run: Opening) -> str:
        """Source the prelude, then set a variable or two for each item."""
        lines = [
            f"KOWALSKI_SOCKET={shlex.quote(run.socket)} KOWALSKI_TOKEN={run.token}",
            f"KOWALSKI_FUNCTIONS={shlex.quote(' '.join(run.functions))}",
            f"source {shlex.quote(str(PRELUDES / 'bash.sh'))}",
        ]
        for item in run.items:
            path = shlex.quote(item.path)
            lines.append(f"{item.name}_file={path}")
            if item.form == "path":
                lines.append(f"{item.name}={path}")
            elif item.form != "bytes" and item.size <= INLINE:
                lines.append(f'{item.name}=$(cat {path}; echo .); {item.name}="${{{item.name}%.}}"')
        names = [item.name for item in run.items]
        if len(names) == 1 and names != ["context"]:
            lines.append(f'context_file=${names[0]}_file; [ -n "${{{names[0]}+x}}" ] && context=${names[0]}')
        return "\n".join([*lines, "true"])

    def version(self, argv: Sequence[str]) -> str:
        """Return bash's own."""
        del argv
        return first_line(["bash", "--version"])

    def problem(self) -> str:
        """Look for bash itself."""
        return "" if shutil.which("bash") else "bash is not installed: install it with your package manager."
