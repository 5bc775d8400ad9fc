"""A run's successful path as a notebook that runs without a model: its code, and the recorded replies."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import nbformat

from kowalski_jupyter.kernels.base import Value
from kowalski_jupyter.kernels.prelude import chunks, plain, search
from kowalski_jupyter.rlm import events as ev
from kowalski_jupyter.rlm.calls import json_values
from kowalski_jupyter.service.export import recorded as functions
from kowalski_jupyter.service.export import shelf
from kowalski_jupyter.service.export.cells import BROKEN_OFF, Cell, binds, cells_of, path_of
from kowalski_jupyter.service.export.replies import DECODED, recorded_replies
from kowalski_jupyter.service.export.wrapping import stopped_after, until_final

_PARTS = {
    r"chunks": (chunks,),
    r"search": (search,),
    r"schema": (json_values,),
    r"shared?": (plain, shelf),
}
"""What comes along where a run's code has such a word."""

_ASKING_HELPERS = ("map_query", "vote", "tree_reduce")

_HELPERS_CELL = '''
from kowalski_jupyter.kernels.prelude.calls import QueryError, Reply  # these helpers are part of kowalski-jupyter
from kowalski_jupyter.kernels.prelude.helpers import Helpers


class RecordedCalls:
    """Answers the helpers' requests from the record."""

    def call(self, request):
        schema = request.fields["options"].get("schema")
        if "prompt" in request.fields:
            return Reply(llm_query(request.fields["prompt"], schema=schema), b"")
        return Reply([_item(reply) for reply in llm_query_batched(request.fields["prompts"], schema=schema)], b"")


def _item(reply):
    return {"error": str(reply), "lasting": reply.lasting} if isinstance(reply, QueryError) else {"reply": reply}


helpers = Helpers(RecordedCalls())
map_query, vote, tree_reduce = helpers.map_query, helpers.vote, helpers.tree_reduce
'''


def to_notebook(events: Sequence[ev.Event], answer_of: Callable[[str], Value | None] = lambda _: None) -> bytes:
    """Return a run as a notebook (nbformat 4).

    It holds the cells that ended well, in order, and of those that did not the ones that bound or changed what later
    cells use. It runs in any Python kernel once the run's variables are defined; its first cells say which. A run that
    used ``map_query``, ``vote`` or ``tree_reduce``, or whose child runs gave tables and the like, needs
    kowalski-jupyter there, but no model either.

    Args:
        events: of the run.
        answer_of: returns the answer of a child run, if it is known; its text stands for it otherwise.
    """
    started = next(event for event in events if isinstance(event, ev.RunStarted))
    book = nbformat.v4.new_notebook(metadata=_metadata(started))
    cells = cells_of(events)
    path = path_of(cells)
    book.cells = [_markdown(_heading(started, events))]
    if path:
        code = "\n".join(cell.code for cell in path)
        replies = recorded_replies(events, {cell.name for cell in path}, answer_of)
        book.cells += [_code(part) for part in _setup(started, code, replies)]
        own = any(binds(cell, "history") for cell in path) or "history" in {item["name"] for item in started.data}
        for cell in path:
            if not own and cell.language == "python" and re.search(r"\bhistory\b", cell.code):
                book.cells.append(_code(f"history = {_history(cells, cell)!r}"))
            book.cells += _shown(cell)
        if path[-1].status == "final" and not re.search(r"\bFINAL(_VAR)?\b", path[-1].code):
            book.cells.append(_code('FINAL(answer["content"])'))
    else:
        book.cells += [_markdown(f"**Answer**\n\n{event.text}") for event in events if isinstance(event, ev.Answered)]
    for number, each in enumerate(book.cells):
        each["id"] = f"cell-{number}"  # the same file for the same run
    nbformat.validate(book)
    return str(nbformat.writes(book)).encode("utf-8", "backslashreplace")


def _history(cells: Sequence[Cell], until: Cell) -> list[dict[str, Any]]:
    """Return what a cell found in ``history``."""
    before = [cell for cell in cells[: cells.index(until)] if cell.language == "python"]
    return [{"cell": number, "code": cell.code, "output": cell.output} for number, cell in enumerate(before, 1)]


def _setup(started: ev.RunStarted, code: str, recorded: Mapping[str, list[str]]) -> list[str]:
    """Return the code cells before the run's own: data, functions, recorded replies."""
    names = [item["name"] for item in started.data]
    load = "\n".join(f"# {item['name']} = …  # {item['type']}: {_line(item['summary'])}" for item in started.data)
    parts = [f"# The data of the run. Define it here or above.\n{load}", _source(functions)]
    for word, modules in _PARTS.items():
        if re.search(rf"\b{word}\b", code):
            parts += map(_source, modules)
    if re.search(rf"\b({'|'.join(_ASKING_HELPERS)})\b", code):
        parts.append(_HELPERS_CELL.strip())
    if any(reply.startswith("decode_answer(") for replies in recorded.values() for reply in replies):
        parts.append(DECODED.strip())
    answer = "final_answer" if "answer" in names else "answer"
    context = names[0] if len(names) == 1 else "{" + ", ".join(f"{name!r}: {name}" for name in names) + "}"
    lines = [
        f"_check_defined({names!r})",
        *([] if "context" in names else [f"context = {context}"]),
        f"ANSWER = {answer!r}",
        *(['answer = {"content": None, "ready": False}'] if answer == "answer" else []),
        "RECORDED.update({"
        + "".join(f"\n    {prompt!r}: [{', '.join(replies)}]," for prompt, replies in recorded.items())
        + "\n})",
    ]
    return [*parts, "\n".join(lines)]


def _source(module: Any) -> str:
    """Return a module's source as a cell: without what only a module needs."""
    source = inspect.getsource(module)
    source = re.sub(r"(?m)^from (__future__|kowalski_jupyter\.\S+) import \w+\n+|[ \t]*# noqa.*$", "", source)
    return source.strip()


def _shown(cell: Cell) -> list[Any]:
    heading = _markdown(f"## Turn {cell.turn}")
    if cell.language == "bash":
        return [heading, _code(f"%%bash\n{cell.code}")]
    if cell.language != "python":
        return [heading, _markdown(f"```{cell.language}\n{cell.code}\n```")]
    if cell.status == "final":
        refused = "\n_given.clear()  # this answer was not taken" if cell.refused else ""
        return [heading, _code(f"{until_final(cell.code)}{refused}")]
    if cell.status in BROKEN_OFF:
        heading = _markdown(f"## Turn {cell.turn}\n\nThis cell was stopped. What it had done by then is of use later.")
        return [heading, _code(stopped_after(cell.code, cell.seconds))]
    code = _code(cell.code)
    if cell.status == "error":
        code.metadata["tags"] = ["raises-exception"]
        heading = _markdown(f"## Turn {cell.turn}\n\nThis cell failed. What it had done by then is of use later.")
    return [heading, code]


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
