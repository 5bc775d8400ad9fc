"""Fenced code: how a fence opens and where it ends.

The rules are CommonMark's (https://spec.commonmark.org/0.31.2/#fenced-code-blocks), loosened where
models are known to be loose: a fence glued to the end of a line, prose behind the closing fence, a new
fence where the old one should have been closed first, and fences inside a Python string.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass, field

from kowalski_jupyter.rlm.languages import fence_tag, language_of

_OPENING = re.compile(r"(?P<indent>[ \t]*)(?P<bullet>(?:[-*+]|\d{1,3}[.)])[ \t]+)?(?P<fence>`{3,}|~{3,})(?P<info>.*)")
_CLOSING = re.compile(r"(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})(?P<rest>.*)")
_BACKTICKS = re.compile(r"`+")
_GLUED_OPENING = re.compile(r"`{3,}(?P<tag>[\w{}.]+)[ \t]*")
_CODE_INDENT = 4  # columns that make a line indented code

Span = tuple[int, int]


def code_spans(line: str) -> list[Span]:
    """Return where the inline code of one line is, in linear time: ```[(start, end), …]``."""
    runs = [match.span() for match in _BACKTICKS.finditer(line)]
    closer: dict[int, int] = {}
    ends: list[int | None] = [None] * len(runs)
    for index in reversed(range(len(runs))):
        start, end = runs[index]
        ends[index] = closer.get(end - start)
        closer[end - start] = index
    spans, index = [], 0
    while index < len(runs):
        last = ends[index]
        if last is not None:
            spans.append((runs[index][0], runs[last][1]))
        index = index + 1 if last is None else last + 1
    return spans


class PythonStrings:
    """Follows Python's strings from line to line, to tell a fence in a string from one that ends the code."""

    _TOKEN = re.compile(r"\\.|\"\"\"|'''|[\"'#]|`+")

    def __init__(self) -> None:
        self.quote = ""  # what the string that is still open at the end of a line will end with

    def fence_in(self, line: str, width: int) -> Span | None:
        """Take the next line; return its first `width` or more back-ticks outside strings and comments."""
        if self.quote:
            if self.quote not in line:
                return None
        elif "```" not in line and '"""' not in line and "'''" not in line:
            return None  # strings in single quotes end with their line: nothing to carry over
        quote = self.quote
        for match in self._TOKEN.finditer(line):
            token = match[0]
            if quote:
                if token[0] == quote[0] and len(token) >= len(quote):
                    quote = ""
            elif token.startswith("#"):
                break
            elif token[0] in "\"'":
                quote = token
            elif token[0] == "`" and len(token) >= width:
                self.quote = ""
                return match.span()
        self.quote = quote if len(quote) > 1 else ""
        return None


@dataclass(slots=True)
class Fence:
    """A code block that has been opened.

    `indent` is its fence's column, `mark` the fence itself, `tag` the tag in lower case. `lines` are the code's
    as written, `source` all lines, fences included. `strings` follows the code's strings; None: not Python.
    """

    indent: int
    mark: str
    tag: str
    source: list[str]
    strings: PythonStrings | None
    lines: list[str] = field(default_factory=list)
    doubtful_end: int | None = None
    """The first line that looks like the closing fence but stands in a string, if there is one."""

    @property
    def language(self) -> str:
        """The canonical language, or "" if the block's tag names none that runs."""
        return language_of(self.tag)

    @property
    def code(self) -> str:
        """The code so far: without the fence's indentation, blank lines around it, and a common margin."""
        lines = [_unindent(line, self.indent) for line in self.lines] if self.indent else self.lines
        code = "\n".join(lines).rstrip()
        first = len(code) - len(code.lstrip())
        code = code[code.rfind("\n", 0, first) + 1 :]
        return textwrap.dedent(code) if code[:1] in (" ", "\t") else code

    def take(self, line: str) -> str | None:
        """Add a line. If it ends the block, return what stands behind the closing fence, which may be ""."""
        if self.strings is not None and not self.lines and line.startswith("%%"):
            self.strings = None  # a cell magic: the rest is not Python
        end = self._end_in_plain(line) if self.strings is None else self._end_in_python(line, self.strings)
        if end is None:
            self.lines.append(line)
            self.source.append(line)
            return None
        code, rest = end
        if code.strip():
            self.lines.append(code)
        if rest is not line:
            self.source.append(line.removesuffix(rest))
        return rest

    def cut(self, end: int) -> None:
        """Go back to the first `end` lines of code, and read on without regard to strings."""
        self.source = self.source[: end + 1]
        self.lines = self.lines[:end]
        self.strings = None

    def _end_in_python(self, line: str, strings: PythonStrings) -> tuple[str, str] | None:
        """Return the code before and the text behind the closing fence, if the line has one."""
        in_string = bool(strings.quote)
        is_magic = not in_string and line.lstrip()[:1] in ("%", "!")
        span = None if is_magic else strings.fence_in(line, len(self.mark))
        if span and self.mark[0] == "`":
            code, rest = line[: span[0]], line[span[1] :]
            return code, line if not code.strip() and _reopens(rest, any_tag=True) else rest
        end = self._end_in_plain(line)
        if in_string and end:
            if self.doubtful_end is None:
                self.doubtful_end = len(self.lines)
            return None
        return end

    def _end_in_plain(self, line: str) -> tuple[str, str] | None:
        match = _CLOSING.match(line) if self.mark in line else None
        if match is None or match["fence"][0] != self.mark[0] or len(match["fence"]) < len(self.mark):
            return None
        rest = match["rest"]
        if not rest.strip():
            return ("", rest) if _columns(match["indent"]) < self.indent + _CODE_INDENT else None
        if _reopens(rest, any_tag=False):
            return ("", line) if self.language else None  # data may hold fences of its own
        is_prose = rest[0].isspace() and len(rest.split()) > 1
        return ("", rest) if is_prose or rest.lstrip().startswith("<|") else None


def open_fence(line: str, *, may_indent: bool) -> Fence | None:
    """Return the block that a line of prose opens, or None.

    Args:
        line: the line.
        may_indent: whether four blanks and more are a list's indentation, not an indented code block.
    """
    match = _OPENING.match(line)
    if match is None or (match["fence"][0] == "`" and "`" in match["info"]):
        return None
    if _columns(match["indent"]) >= _CODE_INDENT and not may_indent:
        return None
    tag = fence_tag(match["info"])
    strings = PythonStrings() if language_of(tag) == "python" else None
    return Fence(_columns(line[: match.start("fence")]), match["fence"], tag, [line], strings)


def open_glued_fence(line: str) -> tuple[str, Fence] | None:
    """Return the prose and the block of a line that ends by opening one: ``Look: ```python``."""
    start = line.rfind("```")
    while start > 0 and line[start - 1] == "`":
        start -= 1
    match = _GLUED_OPENING.fullmatch(line, start) if start > 0 else None
    if match is None or not language_of(fence_tag(match["tag"])):
        return None
    if any(first <= start < last for first, last in code_spans(line)):
        return None
    fence = open_fence(line[start:], may_indent=False)
    return (line[:start], fence) if fence else None


def _reopens(rest: str, *, any_tag: bool) -> bool:
    """Whether what stands behind a closing fence makes it an opening one: a single word that is a tag."""
    if len(rest.split()) != 1:
        return False
    return bool(language_of(fence_tag(rest))) or (any_tag and not rest[0].isspace() and rest[0] != "<")


def _columns(blanks: str) -> int:
    return len(blanks.expandtabs(4))


def _unindent(line: str, columns: int) -> str:
    text = line.lstrip(" \t")
    return " " * (_columns(line[: len(line) - len(text)]) - columns) + text
