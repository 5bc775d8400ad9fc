"""Code of a run put into a ``with`` that ends it where it ended in the run."""

from __future__ import annotations

import ast


def until_final(code: str) -> str:
    """Return code that does not go on after ``FINAL``, which in the run ended the cell."""
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError):
        return code
    last = body[-1] if body else None
    if isinstance(last, ast.Expr) and "FINAL" not in "".join(ast.unparse(node) for node in body[:-1]):
        return code
    return _within("with until_final()", code)


def stopped_after(code: str, seconds: float) -> str:
    """Return code that goes on for so many seconds at most, as it did in the run before it was stopped."""
    awaits = "await" in code  # then the kernel's event loop is what can end it
    return _within(f"{'async with cancelled_after' if awaits else 'with interrupted_after'}({seconds:.1f})", code)


def _within(opening: str, code: str) -> str:
    """Return code in the block of an opening statement, or as it is if that would make it other code."""
    try:
        body = ast.parse(code).body
        text = f"{opening}:\n{_indented(code, body)}"
        (statement,) = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError):
        return code
    same = isinstance(statement, ast.With | ast.AsyncWith) and list(map(ast.dump, statement.body)) == list(
        map(ast.dump, body)
    )
    return text if same else code


def _indented(code: str, body: list[ast.stmt]) -> str:
    """Return code indented, but for the lines that begin within a text."""
    within: set[int] = set()
    for node in (node for statement in body for node in ast.walk(statement)):
        if isinstance(node, ast.Constant | ast.JoinedStr):
            within.update(range(node.lineno + 1, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(code.split("\n"), 1)
    return "\n".join(line if number in within or not line.strip() else f"    {line}" for number, line in lines)
