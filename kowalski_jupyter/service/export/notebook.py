"""A run's successful path as a notebook that runs without a model: its code, and the recorded replies."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import nbformat

from kowalski_jupyter.kernels.prelude import chunks, search
from kowalski_jupyter.rlm import events as ev
from kowalski_jupyter.service.export import recorded as functions

_ASKING_HELPERS = ("map_query", "vote", "tree_reduce")

_HELPERS_CELL = '''
from kowalski_jupyter.kernels.prelude.calls import QueryError, Reply  # these helpers are part of kowalski-jupyter
from kowalski_jupyter.kernels.prelude.helpers import Helpers


class RecordedCalls:
    """Answers the helpers' requests from the record."""

    def call(self, request):
        if "prompt" in request.fields:
            return Reply(_recorded(request.fields["prompt"]), b"")
        replies = _each(_recorded, request.fields["prompts"])
        return Reply([_item(reply) for reply in replies], b"")


def _item(reply):
    return {"error": str(reply), "lasting": reply.lasting} if isinstance(reply, QueryError) else {"reply": reply}


helpers = Helpers(RecordedCalls())
map_query, vote, tree_reduce = helpers.map_query, helpers.vote, helpers.tree_reduce
'''


@dataclass(slots=True)
class _Cell:
    turn: int
    name: str
    language: str
    code: str
    status: str = ""


def to_notebook(events: Sequence[ev.Event]) -> bytes:
    """Return a run as a notebook (nbformat 4).

    It holds the cells that ended well, in order, and of those that failed the ones that bound what later cells use.
    It runs in any Python kernel once the run's variables are defined; its first cells say which. A run that used
    ``map_query``, ``vote`` or ``tree_reduce`` needs kowalski-jupyter there, but no model either.
    """
    started = next(event for event in events if isinstance(event, ev.RunStarted))
    book = nbformat.v4.new_notebook(metadata=_metadata(started))
    path = _path(_cells(events))
    book.cells = [_markdown(_heading(started, events))]
    if path:
        code = "\n".join(cell.code for cell in path)
        book.cells += [_code(part) for part in _setup(started, code, _recorded(events, {cell.name for cell in path}))]
        for cell in path:
            book.cells += _shown(cell)
        if path[-1].status == "final" and not re.search(r"\bFINAL(_VAR)?\b", path[-1].code):
            book.cells.append(_code('FINAL(answer["content"])'))
    else:
        book.cells += [_markdown(f"**Answer**\n\n{event.text}") for event in events if isinstance(event, ev.Answered)]
    for number, each in enumerate(book.cells):
        each["id"] = f"cell-{number}"  # the same file for the same run
    nbformat.validate(book)
    return str(nbformat.writes(book)).encode("utf-8", "backslashreplace")


def _cells(events: Sequence[ev.Event]) -> list[_Cell]:
    cells: dict[str, _Cell] = {}
    for event in events:
        if isinstance(event, ev.CellStarted):
            cells[event.cell] = _Cell(event.turn, event.cell, event.language, event.code)
        elif isinstance(event, ev.CellFinished) and event.cell in cells:
            cells[event.cell].status = event.status
    return list(cells.values())


def _path(cells: list[_Cell]) -> list[_Cell]:
    """Return the cells that lead to the answer: those after the last loss of all variables that are of use."""
    died = max((place for place, cell in enumerate(cells) if cell.status == "died"), default=-1)
    path: list[_Cell] = []
    needed: set[str] = set()
    for cell in reversed(cells[died + 1 :]):
        bound, used = _names(cell.code)
        if cell.status in ("ok", "final"):
            needed = (needed - bound) | used
        elif cell.status == "error" and bound & needed:
            needed |= used
        else:
            continue
        path.append(cell)
    return path[::-1]


def _names(code: str) -> tuple[set[str], set[str]]:
    """Return the names that a cell binds and those that it uses, as far as its text tells."""
    try:
        nodes = list(ast.walk(ast.parse(code)))
    except (SyntaxError, ValueError, RecursionError):  # not Python
        return set(), set()
    bound, used = set(), set()
    for node in nodes:
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                used.add(name)
            case ast.Name(id=name):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
            case ast.alias(name=name, asname=other):
                bound.add((other or name).partition(".")[0])
    return bound, used


def _recorded(events: Sequence[ev.Event], cells: set[str]) -> Mapping[str, list[Any]]:
    """Return the replies to the sub-calls of some cells, by prompt, in the order in which they were asked."""
    asked = {event.call: event for event in events if isinstance(event, ev.SubcallStarted) and event.cell in cells}
    replies: dict[int, Any] = {}
    for event in events:
        if isinstance(event, ev.SubcallFinished) and event.call in asked:
            replies[event.call] = {"error": event.error} if event.error else event.reply
    found: dict[str, list[Any]] = {}
    for call, reply in sorted(replies.items()):
        found.setdefault(asked[call].prompt, []).append(reply)
    return {
        prompt: listed[:1] if listed.count(listed[0]) == len(listed) else listed for prompt, listed in found.items()
    }


def _setup(started: ev.RunStarted, code: str, recorded: Mapping[str, list[Any]]) -> list[str]:
    """Return the code cells before the run's own: data, functions, recorded replies."""
    names = [item["name"] for item in started.data]
    load = "\n".join(f"# {item['name']} = …  # {item['type']}: {_line(item['summary'])}" for item in started.data)
    parts = [f"# The data of the run. Define it here or above.\n{load}", _source(functions)]
    for name, module in (("chunks", chunks), ("search", search)):
        if re.search(rf"\b{name}\b", code):
            parts.append(_source(module))
    if re.search(rf"\b({'|'.join(_ASKING_HELPERS)})\b", code):
        parts.append(_HELPERS_CELL.strip())
    answer = "final_answer" if "answer" in names else "answer"
    context = names[0] if len(names) == 1 else "{" + ", ".join(f"{name!r}: {name}" for name in names) + "}"
    lines = [
        f"for name in {names!r}:",
        "    if name not in globals():",
        '        raise NameError(f"Define {name} first: it is the data that this run was about.")',
        *([] if "context" in names else [f"context = {context}"]),
        f"ANSWER = {answer!r}",
        *(['answer = {"content": None, "ready": False}'] if answer == "answer" else []),
        "RECORDED.update({"
        + "".join(f"\n    {prompt!r}: {replies!r}," for prompt, replies in recorded.items())
        + "\n})",
    ]
    return [*parts, "\n".join(lines)]


def _source(module: Any) -> str:
    """Return a module's source as a cell: without what only a module needs."""
    source = inspect.getsource(module)
    source = re.sub(r"(?m)^from __future__ import annotations\n+|[ \t]*# noqa.*$", "", source)
    return source.strip()


def _shown(cell: _Cell) -> list[Any]:
    heading = _markdown(f"## Turn {cell.turn}")
    if cell.language == "bash":
        return [heading, _code(f"%%bash\n{cell.code}")]
    if cell.language != "python":
        return [heading, _markdown(f"```{cell.language}\n{cell.code}\n```")]
    code = _code(_stopping(cell.code) if cell.status == "final" else cell.code)
    if cell.status == "error":
        code.metadata["tags"] = ["raises-exception"]
        heading = _markdown(f"## Turn {cell.turn}\n\nThis cell failed, and bound what later ones use.")
    return [heading, code]


def _stopping(code: str) -> str:
    """Return code that does not go on after ``FINAL``, which in the run ended the cell."""
    try:
        body = ast.parse(code).body
        last = body[-1] if body else None
        if isinstance(last, ast.Expr) and "FINAL" not in "".join(ast.unparse(node) for node in body[:-1]):
            return code
        wrapped = f"with until_final():\n{textwrap.indent(code, '    ')}"
        (statement,) = ast.parse(wrapped).body
    except (SyntaxError, ValueError, RecursionError):
        return code
    same = isinstance(statement, ast.With) and list(map(ast.dump, statement.body)) == list(map(ast.dump, body))
    return wrapped if same else code  # a text over several lines would not survive the indentation


def _heading(started: ev.RunStarted, events: Sequence[ev.Event]) -> str:
    model = next((event.name for event in events if isinstance(event, ev.ModelReady)), "a model")
    quoted = "\n".join(f"> {line}" for line in started.question.splitlines())
    return (
        f"# {_line(started.question)}\n\n{quoted}\n\n"
        f"The code that {model} wrote to answer this (run {started.run}), as far as it led to the answer. "
        "It runs without a model: what models said when the code asked them is recorded below."
    )


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else line[:79] + "…"  # noqa: PLR2004 (a heading's length)


def _metadata(started: ev.RunStarted) -> dict[str, Any]:
    return {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
        "kowalski": {"run": started.run},
    }


def _markdown(text: str) -> Any:
    return nbformat.v4.new_markdown_cell(text)


def _code(text: str) -> Any:
    return nbformat.v4.new_code_cell(text)
