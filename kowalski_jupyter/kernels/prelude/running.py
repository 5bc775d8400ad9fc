"""Runs a cell's code as IPython does, and in fewer steps where it needs nothing of what IPython does besides."""

from __future__ import annotations

import ast
import re
import sys
from types import CodeType
from typing import Any, cast

from .shell import Hook, Shell

_IPYTHONS_OWN = re.compile(r"[%!?]|^\s*[/;,>.]|^\s*In \[|\A\s", re.MULTILINE)
"""What a cell has to hold for IPython to change it: magics, commands, help, calls without parentheses, prompts."""


async def run(shell: Shell, code: str) -> BaseException | None:
    """Run `code`, with its outputs and its error recorded; return the error."""
    if _IPYTHONS_OWN.search(code) is None:
        parts = _parts(shell, code) if _is_plain(shell) and not may_wait(code) else None
        if parts is not None:
            cast("Hook", shell.displayhook).cell = code
            return _run_parts(shell, parts)
        return await _run_in_ipython(shell, code, code if code.endswith("\n") else f"{code}\n")
    try:
        transformed = str(shell.transform_cell(code))  # type: ignore[no-untyped-call]
    except Exception:  # noqa: BLE001 - shown by IPython
        return await _run_in_ipython(shell, code, code, sys.exc_info())
    return await _run_in_ipython(shell, code, transformed)


def may_wait(code: str) -> bool:
    """Return whether `code` could await something outside of functions: no more words than these let it."""
    return "await" in code or "async" in code


def _is_plain(shell: Shell) -> bool:
    """Return whether nobody has asked to take part in running cells, or to have more than the last value shown."""
    callbacks = shell.events.callbacks
    return (
        shell.ast_node_interactivity == "last_expr"
        and not shell.ast_transformers
        and not shell.custom_exceptions
        and not callbacks["pre_run_cell"]
        and not callbacks["post_run_cell"]
    )


def _parts(shell: Shell, code: str) -> list[CodeType] | None:
    """Compile a cell: its statements, and its last expression, which is shown. None if that is an error.

    IPython then says which, and runs what stands before it.
    """
    compiler: Any = shell.compile
    try:
        name = compiler.cache(code, shell.execution_count, raw_code=code)
        tree: ast.Module = compiler.ast_parse(code, filename=name)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        parts = [compiler(tree, name, "exec")] if tree.body else []
        if last is not None:
            parts.append(compiler(ast.Interactive([last]), name, "single"))
    except Exception:  # noqa: BLE001 - see above
        return None
    return parts


def _run_parts(shell: Shell, parts: list[CodeType]) -> BaseException | None:
    try:
        shell.events.trigger("pre_execute")
        sys.displayhook = shell.displayhook
        for part in parts:
            exec(part, shell.user_global_ns, shell.user_ns)  # noqa: S102 - this is what the sandbox is for
    except BaseException as error:  # noqa: BLE001 - a cell's
        shell.showtraceback()
        return error
    return None


async def _run_in_ipython(shell: Shell, code: str, transformed: str, problem: Any = None) -> BaseException | None:
    cast("Hook", shell.displayhook).cell = transformed
    result = await shell.run_cell_async(code, transformed_cell=transformed, preprocessing_exc_tuple=problem)
    return result.error_before_exec or result.error_in_exec
