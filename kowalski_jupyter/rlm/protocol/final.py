"""Final answers in a reply's prose: ``FINAL(…)`` and ``FINAL_VAR(…)`` at the start of a line.

Calls inside code are not looked for here: they run, and the kernel reports the value. This is for models
that write the call as text.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import json
import re
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, NoReturn


@dataclass(frozen=True, slots=True)
class Final:
    """An answer given in prose: `value` is its ``text``, a ``var``'s name, or the Python source of an ``expr``."""

    kind: Literal["text", "var", "expr"]
    value: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """A final answer that cannot be taken, and the reason; `value` is what it said."""

    reason: Literal["empty", "placeholder", "undefined", "cut"]
    value: str = ""


# Up to three blanks (four are an indented code block) and emphasis.
_CALL = re.compile(r"^ {0,3}[*_]{0,3}FINAL(?P<var>_VAR)?[ \t]*\(", re.MULTILINE)
# Runs of parentheses. Strict: those in quotes do not count. List: nor does an ``a)`` that begins a line.
_LOOSE = re.compile(r"\(+|\)+")
_LOOSE_LIST = re.compile(r"\(+|\)+|(?<=\n)[ \t]*\w{1,2}\)")
_STRICT = re.compile(r"\(+|\)+|[\"']|\\.")
_STRICT_LIST = re.compile(r"\(+|\)+|[\"']|\\.|(?<=\n)[ \t]*\w{1,2}\)")
_NO_WORDS = re.compile(r"(?:[^\w\n]|_)*(?:\n|\Z)")
_PLACEHOLDER = re.compile(
    r"(?:(?:insert|put|write|enter|give|place) )?(?:(?:your|the|my) )?(?:(?:final|actual|complete|full) )?"
    r"(?:answer|result|response|output|value|text)(?: (?:text|string|value))?(?: goes)?(?: here)?"
)
_EXPRESSION_LENGTH = 2000
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?")


def find_final(prose: str, *, is_end: bool, cut: bool, defined: Collection[str]) -> Final | Rejected | None:
    """Return the last final answer in a stretch of prose, in linear time.

    Args:
        prose: text without code and thoughts.
        is_end: whether the reply ends with it.
        cut: whether the token limit ended the reply.
        defined: names that the kernel holds.
    """
    stop = len(prose)
    calls = list(_CALL.finditer(prose)) if "FINAL" in prose else []
    for call in reversed(calls):
        start = call.end()
        end = _closing_parenthesis(prose, start, stop)
        if end is None and is_end and stop == len(prose) and _balanced(prose, start, stop) is None:
            if cut:
                return Rejected("cut")
            end = stop  # the reply stopped by itself: only the parenthesis is missing
        if end is not None:
            return _interpret(prose[start:end].strip(), is_var=bool(call["var"]), defined=defined)
        stop = call.start()
    return None


def _closing_parenthesis(text: str, start: int, stop: int) -> int | None:
    """Return where the call ends that opened before `start`: at a parenthesis with no words behind it.

    With words behind it on its line, the call is only spoken of: ``FINAL(x) ends the loop``. Free text is no
    code, so quotes and parentheses need not balance: each reading is tried, the strict ones first.
    """
    for pattern in (_STRICT, _STRICT_LIST, _LOOSE, _LOOSE_LIST):
        end = _balanced(text, start, stop, pattern)
        if end is not None and _NO_WORDS.match(text, end + 1, stop):
            return end
    return None


def _balanced(text: str, start: int, stop: int, pattern: re.Pattern[str] = _LOOSE) -> int | None:
    """Return the position of the closing parenthesis of the one that opened before `start`."""
    depth = 1
    quote = ""
    for match in pattern.finditer(text, start, stop):
        found = match[0]
        if found in ("'", '"'):
            if not quote and not text[match.start() - 1].isalnum():
                quote = found
            elif found == quote and not text[match.end() : match.end() + 1].isalnum():
                quote = ""
        elif quote:
            continue
        elif found[0] == "(":
            depth += len(found)
        elif found[0] == ")":
            depth -= len(found)
            if depth <= 0:
                return match.end() - 1 + depth
    return None


def _interpret(value: str, *, is_var: bool, defined: Collection[str]) -> Final | Rejected:
    string = _string(value)
    text = value if string is None else string
    if not text.strip():
        return Rejected("empty")
    if text in defined and (is_var or string is None):
        return Final("var", text)
    if is_var and text.isidentifier():
        return Rejected("undefined", text)
    if not is_var and _is_placeholder(text):
        return Rejected("placeholder", text)
    if string is not None:
        return Final("text", string)
    source = _literal(value)
    if source is None and _computes(value, None if is_var else defined):
        source = _source(value)
    return Final("text", value) if source is None else Final("expr", source)


def _literal(value: str) -> str | None:
    """Return the source of a literal: one of Python's, JSON, or a number with thousands separators. None for others."""
    if _THOUSANDS.fullmatch(value):
        return value.replace(",", "")
    source = _source(value)
    with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
        ast.literal_eval(source or "")
        return source
    with contextlib.suppress(ValueError, RecursionError):
        return repr(json.loads(value, parse_constant=_refuse))
    return None


def _source(value: str) -> str | None:
    """Return the source of what stands between a call's parentheses, None if it is no Python; several are a list."""
    tree = _parse(f"[{value}\n]")
    if tree is None or not isinstance(tree.body, ast.List) or not tree.body.elts:
        return None
    with contextlib.suppress(RecursionError):
        return ast.unparse(tree.body if len(tree.body.elts) > 1 else tree.body.elts[0])
    return None


def _refuse(constant: str) -> NoReturn:
    """Refuse NaN and Infinity, which are words as well."""
    raise ValueError(constant)


def _computes(text: str, defined: Collection[str] | None) -> bool:
    """Whether text is an expression over the kernel's variables and nothing else; without these, over whatever."""
    names = _names(text)
    if names is None or defined is None:
        return names is not None
    return any(name in defined for name in names) and all(_is_known(name, defined) for name in names)


def _is_known(name: str, defined: Collection[str]) -> bool:
    return name in defined or hasattr(builtins, name)


def _is_placeholder(text: str) -> bool:
    bare = text.strip("<>[]{} \t\n").lower()
    if bare.strip(".…") == "":
        return True
    copied = len(text.split()) > 1 or text[0] in "<[{"  # the single word may be the answer
    return copied and _PLACEHOLDER.fullmatch(bare.replace("_", " ").rstrip(".…")) is not None


def _string(value: str) -> str | None:
    """Return the content of a string literal, None if `value` is not a single one."""
    for quote in ('"""', "'''", '"', "'"):
        if len(value) >= 2 * len(quote) and value.startswith(quote) and value.endswith(quote):
            content = value[len(quote) : -len(quote)]
            if "\\" in content:
                return _escaped(value, quote)
            return None if quote in content else content
    return None


def _escaped(value: str, quote: str) -> str | None:
    try:
        if quote == '"':
            return str(json.loads(value, strict=False))
        tree = _parse(value)
    except ValueError:
        return None
    is_string = tree is not None and isinstance(tree.body, ast.Constant) and isinstance(tree.body.value, str)
    return str(ast.literal_eval(tree)) if tree is not None and is_string else None


def _names(source: str) -> set[str] | None:
    """Return the names that a Python expression reads; None if it is not an expression, or a long one."""
    tree = _parse(f"[{source}\n]") if len(source) <= _EXPRESSION_LENGTH else None
    if tree is None:
        return None
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _parse(source: str) -> ast.Expression | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a model's text, not our code
            return ast.parse(source, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
