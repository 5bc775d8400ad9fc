"""Which cells of a run lead to its answer."""

from __future__ import annotations

import ast
import builtins
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from kowalski_jupyter.rlm import events as ev

BROKEN_OFF = ("timeout", "interrupted")
"""How a cell has ended that was stopped from outside."""

_HARMLESS = frozenset(dir(builtins)) - {"delattr", "exec", "next", "setattr"}
"""Functions that do not change what they are given."""
_READING = frozenset(name for kind in (str, bytes, tuple, frozenset, int, float) for name in dir(kind))
_READING |= {"get", "items", "keys", "values"}
"""Methods that do not change what they are of."""
_MODULES = frozenset({"asyncio", "json", "math", "re"})
"""Modules that are there without an import."""
_SCOPES = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
)
"""Code that has names of its own."""


@dataclass(slots=True)
class Cell:
    """A cell of a run: its text, what it put out, how it ended, and whether its answer was not taken."""

    turn: int
    name: str
    language: str
    code: str
    output: str = ""
    status: str = ""
    seconds: float = 0.0
    refused: bool = False


@dataclass(frozen=True, slots=True)
class _Names:
    """What a cell does to names, as far as its text tells.

    Attributes:
        bound: those that it binds.
        used: those that it uses.
        changed: those whose values it may change, the functions that it calls among them.
        effects: what the functions that it defines may change, by their names.
        modules: those that it imports.
    """

    bound: AbstractSet[str] = frozenset()
    used: AbstractSet[str] = frozenset()
    changed: AbstractSet[str] = frozenset()
    effects: Mapping[str, AbstractSet[str]] = field(default_factory=dict)
    modules: AbstractSet[str] = frozenset()


def cells_of(events: Sequence[ev.Event]) -> list[Cell]:
    """Return all cells of a run, in order."""
    cells: dict[str, Cell] = {}
    for event in events:
        if isinstance(event, ev.CellStarted):
            cells[event.cell] = Cell(event.turn, event.cell, event.language, event.code)
        elif isinstance(event, ev.CellOutput) and event.cell in cells:
            cells[event.cell].output += event.text
        elif isinstance(event, ev.CellFinished) and event.cell in cells:
            cells[event.cell].status = event.status
            cells[event.cell].seconds = event.seconds
        elif isinstance(event, ev.AnswerJudged):
            for cell in cells.values():
                cell.refused = cell.refused or (cell.turn == event.turn and bool(event.error))
    return list(cells.values())


def path_of(cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells that lead to the answer: those after the last loss of all variables that are of use.

    Those that did not end well are of use if they bound or changed what a later one uses.
    """
    died = max((place for place, cell in enumerate(cells) if cell.status == "died"), default=-1)
    known = [(cell, _names(cell.code)) for cell in cells[died + 1 :]]
    effects = ChainMap(*(dict(names.effects) for _, names in known))
    modules = _MODULES.union(*(names.modules for _, names in known))
    path: list[Cell] = []
    needed: set[str] = set()
    for cell, names in reversed(known):
        changed = set(names.changed).union(*(effects.get(name, ()) for name in names.changed))
        if cell.status in ("ok", "final"):
            needed = (needed - names.bound) | names.used
        elif cell.status in ("error", *BROKEN_OFF) and (names.bound | (changed - modules)) & needed:
            needed |= names.used
        else:
            continue
        path.append(cell)
    return path[::-1]


def binds(cell: Cell, name: str) -> bool:
    """Return whether a cell gives a name another value."""
    return name in _names(cell.code).bound


def _names(code: str) -> _Names:
    try:
        tree = ast.parse(code)
        nodes = [*ast.walk(tree)]
    except (SyntaxError, ValueError, RecursionError):  # not Python
        return _Names()
    used = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    used |= {node.target.id for node in nodes if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name)}
    effects = {node.name: _changed(node) for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    imported = (each for node in nodes if isinstance(node, ast.Import) for each in node.names)
    return _Names(_bound(tree), used, _changed(tree), effects, {_imported_as(each) for each in imported})


def _imported_as(alias: ast.alias) -> str:
    return (alias.asname or alias.name).partition(".")[0]


def _bound(tree: ast.AST) -> set[str]:
    """Return the names that code binds outside of what has names of its own."""
    bound: set[str] = set()
    inside = [tree]
    while inside:
        node = inside.pop()
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                bound.add(name)
            case ast.alias():
                bound.add(_imported_as(node))
            case _:
                pass
        if not isinstance(node, _SCOPES):
            inside += ast.iter_child_nodes(node)
    return bound


def _changed(tree: ast.AST) -> set[str]:
    """Return the names whose values code may change: by assigning into them, by their methods, by what it calls."""
    changed: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(value=inner, ctx=ast.Store() | ast.Del()):
                changed.update(_root(inner))
            case ast.Attribute(value=inner, ctx=ast.Store() | ast.Del()):
                changed.update(_root(inner))
            case ast.Call(func=ast.Attribute(value=inner, attr=method)) if method not in _READING:
                changed.update(_root(inner))
            case ast.Call(func=ast.Name(id=name), args=given) if name not in _HARMLESS:
                changed.add(name)
                changed.update(root for each in given for root in _root(each))
            case ast.Global(names=names):
                changed.update(names)
            case _:
                pass
    return changed


def _root(node: ast.AST) -> Iterator[str]:
    """Yield the name that ``name.attribute[item]`` begins with."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        node = node.value
    if isinstance(node, ast.Name):
        yield node.id
