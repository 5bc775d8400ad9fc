"""Fenced code: how a fence opens and where it ends.

The rules are CommonMark's (https://spec.commonmark.org/0.31.2/#fenced-code-blocks), loosened where
models are known to be loose: a fence glued to the end of a line, prose behind the closing fence, a new
fence where the old one should have been closed first, and fences inside a Python string.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field

from kowalski_jupyter.rlm.protocol.languages import fence_tag, language_of

_OPENING = re.compile(r"(?P<indent>[ \t]*)(?P<bullet>(?:[-*+]|\d{1,3}[.)])[ \t]+)?(?P<fence>`{3,}|~{3,})(?P<info>.*)")
_CLOSING = re.compile(r"(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})(?P<rest>.*)")
_BACKTICKS = re.compile(r"`+")
_GLUED_OPENING = re.compile(r"`{3,}(?P<tag>[\w{}.]+)[ \t]*")
_LIST_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,3}[.)])[ \t]")
_FENCE = ("```", "~~~")
_FENCE_OR_STRING = (*_FENCE, '"""', "'''")
_CODE_INDENT = 4  # columns that make a line indented code

Span = tuple[int, int]


def code_spans(line: str, start: int = 0) -> list[Span]:
    """Return where the inline code of one line is, from `start` on, in linear time."""
    runs = [match.span() for match in _BACKTICKS.finditer(line, start)]
    closer: dict[int, int] = {}
    ends: list[int | None] = [None] * len(runs)
    for index in reversed(range(len(runs))):
        first, last = runs[index]
        ends[index] = closer.get(last - first)
        closer[last - first] = index
    spans, index = [], 0
    while index < len(runs):
        end = ends[index]
        if end is not None:
            spans.append((runs[index][0], runs[end][1]))
        index = index + 1 if end is None else end + 1
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


class Layout:
    """Follows lists and blank lines in prose: an indented line is code after a blank one, but not in a list."""

    def __init__(self) -> None:
        self._in_list = False
        self._after_blank = True

    @property
    def may_indent(self) -> bool:
        """Whether the next line's indentation is a list's or a paragraph's, not an indented code block's."""
        return self._in_list or not self._after_blank

    def take(self, text: str) -> None:
        """Take whole lines of prose."""
        blank: bool | None = None
        end = text.rfind("\n")
        while end >= 0:  # from the last line on
            start = text.rfind("\n", 0, end) + 1
            line = text[start:end]
            end = start - 1
            bare = line.strip()
            if blank is None and (not bare or line[0] not in " \t"):
                blank = not bare
            if bare and (line[0] not in " \t" or _LIST_ITEM.match(line)):
                self._in_list = _LIST_ITEM.match(line) is not None
                break
        self._after_blank = self._after_blank if blank is None else blank

    def take_block(self, opening: str) -> None:
        """Take a whole code block that opens with this line."""
        if opening[0] not in " \t":
            self._in_list = _LIST_ITEM.match(opening) is not None
        self._after_blank = True


@dataclass(slots=True)
class Fence:
    """A code block that has been opened.

    `indent` is its fence's column, `mark` the fence itself, `tag` the tag in lower case. `lines` is the code as
    written, in pieces of whole lines. `strings` follows the code's strings; None: not Python.
    """

    indent: int
    mark: str
    tag: str
    strings: PythonStrings | None
    lines: list[str] = field(default_factory=list)
    doubtful_end: int | None = None
    """Where in `lines` the first closing fence stands that is in a string, if there is one."""

    @property
    def language(self) -> str:
        """The canonical language, or "" if the block's tag names none that runs."""
        return language_of(self.tag)

    @property
    def special(self) -> Sequence[str]:
        """What a line holds that cannot go to `take_plain`: any of these."""
        return _FENCE if self.strings is None else _FENCE_OR_STRING

    def code(self, line: str = "") -> str:
        """Return the code so far, with an unfinished line, without the margin that a fence or a list gave it."""
        code = "".join(self.lines) + line
        if self.indent:
            code = "\n".join(_unindent(line, self.indent) for line in code.split("\n"))
        code = code.rstrip()
        first = len(code) - len(code.lstrip())
        code = code[code.rfind("\n", 0, first) + 1 :]
        return textwrap.dedent(code) if code[:1] in (" ", "\t") else code

    def take_plain(self, lines: str) -> None:
        """Add whole lines that hold nothing special."""
        self._see_magic(lines)
        self.lines.append(lines)

    def take(self, line: str) -> str | None:
        """Add a line. If it ends the block, return what stands behind the closing fence, which may be ""."""
        if line == self.mark and not (self.strings and self.strings.quote):
            return ""  # as nearly all end
        self._see_magic(line)
        end = self._end_in_plain(line) if self.strings is None else self._end_in_python(line, self.strings)
        if end is None:
            self.lines.append(line + "\n")
            return None
        code, rest = end
        if code.strip():
            self.lines.append(code)
        return rest

    def take_back(self) -> str:
        """End the code at its doubtful end, and return the lines from there on. No string is trusted any more."""
        end = self.doubtful_end
        rest = "".join(self.lines[end:])
        self.lines = self.lines[:end]
        self.strings = None
        return rest

    def _see_magic(self, lines: str) -> None:
        if self.strings is not None and not self.lines and lines.startswith("%%"):
            self.strings = None  # a cell magic: the rest is not Python

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
    return Fence(_columns(line[: match.start("fence")]), match["fence"], tag, strings)


def open_glued_fence(line: str) -> tuple[str, Fence] | None:
    """Return the prose and the block of a line that ends by opening one: ``Look: ```python``."""
    start = line.rfind("```")
    while start > 0 and line[start - 1] == "`":
        start -= 1
    match = _GLUED_OPENING.fullmatch(line, start) if start > 0 else None
    if match is None or not language_of(fence_tag(match["tag"])):
        return None
    if line[:start].lstrip()[:1] in ("", ">"):  # indented code, or a quotation
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
