"""A reply while it arrives: cut into prose, code and thoughts, line by line, in linear time.

This is the front half of the parser (`protocol.parse_reply` feeds the whole reply at once), so what is
shown while a reply streams and what is run in the end are the same.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from kowalski_jupyter.rlm.protocol.fences import Fence, Layout, code_spans, open_fence, open_glued_fence
from kowalski_jupyter.rlm.protocol.toolcalls import from_text

CUT_REASONS = frozenset({"length", "max_tokens"})
"""The finish reasons that mean: cut by the token limit."""

Kind = Literal["prose", "code", "thought"]
_TextKind = Literal["prose", "thought", "tool"]


@dataclass(frozen=True, slots=True)
class Block:
    """Code to run, in a language by its canonical name (see `languages.TAGS`)."""

    language: str
    code: str


@dataclass(slots=True)  # frozen, it would take three times as long to make
class Segment:
    """A stretch of a reply, not to be changed.

    `text` is the prose, the thought, or the code as it would run. For code, `tag` is its fence's tag in lower
    case (or, with `is_tool`, the called tool's name) and `language` the canonical language, "" if the tag names
    none that can run. `closed` says whether its end was seen: an open segment may still grow, or turn out to
    be something else.
    """

    kind: Kind
    text: str
    language: str = ""
    tag: str = ""
    closed: bool = True
    is_tool: bool = False


# Thoughts as models mark them: <think> (DeepSeek, Qwen), [THINK] (Mistral), <seed:think> (Seed), ◁think▷ (Kimi),
# <|START_THINKING|> (Command), <|channel>thought (Gemma), OpenAI's harmony channels
# (https://github.com/openai/harmony), and end-of-turn tokens that some servers let through.
_MARK = re.compile(
    r"(?P<open><(?:seed:)?(?:think|thinking|thought|reasoning)(?:\s[^<>]*)?>|\[THINK\]|◁think▷|<\|START_THINKING\|>"
    r"|<\|channel>(?:thought\b)?)"
    r"|(?P<close></(?:seed:)?(?:think|thinking|thought|reasoning)>|\[/THINK\]|◁/think▷|<\|END_THINKING\|>|<channel\|>)"
    r"|<\|channel\|>(?P<channel>[^<]*)(?:<\|constrain\|>[^<]*)?<\|message\|>"
    r"|(?P<end><\|(?:end|return|call)\|>)"
    r"|(?P<tool><tool_call>)"
    r"|(?P<tool_end></tool_call>)"
    r"|(?P<noise><\|start\|>\w*|<\|(?:im_end|eot_id|endoftext|end_of_text|(?:START|END)_RESPONSE)\|>)",
    re.IGNORECASE,
)
MARK_START = re.compile(r"<(?:/?(?:th|re|to|seed:)|\||channel\|)|\[/?THINK\]|◁/?think", re.IGNORECASE)
_FENCES = ("```", "~~~")
_SPECIAL = ("<", "[", "◁", *_FENCES)  # what a mark or a fence begins with


class ReplyStream:
    """Takes a reply in pieces of any size and says at any time what it consists of.

    A closed code segment can be run at once. It stays what it is, with one exception: a closing thought tag
    without an opening one (some servers swallow it) turns everything before it into a thought.

    Attributes:
        feed: adds the next piece of the reply.
        marked: whether a mark of thoughts was seen. Until then all may turn out to be one.
    """

    def __init__(self) -> None:
        self._arrived = [""]  # since the last line that was taken
        self.feed: Callable[[str], None] = self._arrived.append  # it is called for each token
        self._looked_at = 0  # the last of these that was looked at
        self.marked = False
        self._unsure = False  # whether the line that has not ended may begin a block or end one
        self._segments: list[Segment] = []
        self._recalled = 0  # segments before this index have already been turned into thoughts
        self._kind: _TextKind = "prose"
        self._text: list[str] = []
        self._fence: Fence | None = None
        self._layout = Layout()
        self._laid_out = 0  # so many items of the text has the layout seen
        self._trust_strings = True

    def finish(self, finish_reason: str | None = "stop") -> None:
        """Say that the reply has ended, and why; to be called once."""
        cut = finish_reason in CUT_REASONS
        last = next(filter(None, reversed(self._arrived)), "")
        if last and not last.endswith("\n"):
            self._arrived.append("\n")  # so that the last line is one
        self._take_arrived()
        if self._fence and self._fence.doubtful_end is not None and not cut:
            self._trust_strings = False
            self._take_lines(self._fence.take_back())
        if self._fence:
            self._end_fence(closed=False)
        elif self._kind == "tool":
            self._switch("prose", closed=not cut)
        else:
            self._switch("prose", closed=self._kind == "prose")

    @property
    def ended(self) -> Sequence[Segment]:
        """The segments that have ended: of code all, of others perhaps not the last ones.

        Asking costs what has arrived since the last time, and next to nothing if that can neither begin a block nor
        end one.
        """
        arrived = self._arrived
        new = "".join(arrived[self._looked_at :])  # with the piece before: what is looked for may have come in two
        self._looked_at = len(arrived) - 1
        if self._unsure or "`" in new or "~" in new or "l>" in new:  # `_may_end`, without a call for every line
            lines = new[: max(new.rfind("\n"), new.rfind("\r")) + 1]
            if lines and (self._unsure or _may_end(lines)):
                self._take_arrived()
            else:
                self._unsure = True  # of a line that has not ended nothing is known
        return self._segments

    @property
    def opened(self) -> str:
        """The language of the block that is being written, as far as `ended` has seen; empty if there is none."""
        return self._fence.language if self._fence else ""

    @property
    def segments(self) -> list[Segment]:
        """The segments so far, the one that is still growing included, in linear time. None is blank prose."""
        growing = self._growing(self._take_arrived())
        return [*self._segments, growing] if growing.kind == "code" or growing.text.strip() else list(self._segments)

    def _take_arrived(self) -> str:
        """Take all whole lines of what has arrived, and return the rest."""
        text = "".join(self._arrived)
        half = "\r" if text.endswith("\r") else ""  # of a line's end, or the whole of one
        if "\r" in text:
            text = text.removesuffix("\r").replace("\r\n", "\n").replace("\r", "\n")
        end = text.rfind("\n") + 1
        rest = text[end:] + half
        self._arrived[:] = [rest]
        self._looked_at = 0
        self._unsure = _may_end(rest)
        if end:
            self._take_lines(text[:end])
        return rest

    def _growing(self, line: str) -> Segment:
        line = line.removesuffix("\r")
        if line.lstrip()[:1] in ("`", "~", "<", "[", "◁"):
            line = ""  # may become a fence or a tag: not shown before that is known
        if self._fence:
            return _code(self._fence, closed=False, line=line)
        text = ("".join(self._text) + line).strip("\n")
        return Segment("thought" if self._kind == "thought" else "prose", text, closed=False)

    def _take_lines(self, text: str) -> None:
        """Take whole lines. Runs of lines that cannot hold anything special are taken at once."""
        places: dict[str, int] = {}  # where each of these stands next
        in_prose: Sequence[str] = ()
        start = 0
        while start < len(text):
            if not (self._fence or in_prose):
                in_prose = _SPECIAL if _may_hold_mark(text[start:]) else _FENCES
            first = len(text)
            for mark in self._fence.special if self._fence else in_prose:
                place = places.get(mark, -1)
                if place < start:
                    place = places[mark] = _find(text, mark, start)
                first = min(first, place)
            line = text.rfind("\n", start, first) + 1 or start
            if line > start:
                plain = text[start:line]
                self._fence.take_plain(plain) if self._fence else self._text.append(plain)
            start = line
            if first < len(text):
                end = text.index("\n", first)
                self._take_line(text[line:end])
                start = end + 1

    def _take_line(self, line: str) -> None:
        rest: str | None = line
        if fence := self._fence:
            rest = fence.take(line)
            if rest is not None:
                self._end_fence(closed=True)
        if rest or not fence:
            self._take_text(rest or "")

    def _take_text(self, line: str) -> None:
        """Take a line outside code blocks, which may hold marks and may end by opening a block."""
        if "<" not in line and "[" not in line and "◁" not in line:
            self._take_line_end(line)
            return
        marks = _marks(line, in_prose=self._kind == "prose") if _may_hold_mark(line) else ()
        last_close = max((match.start() for match in marks if match["close"]), default=-1)
        position = 0
        for match in marks:
            blank = self._kind != "prose" or not line[position : match.start()].strip()
            if match["open"] and (self._kind == "tool" or not (blank or match.start() < last_close)):
                continue  # the tag is only spoken of
            if self._kind == "tool" and not match["tool_end"]:
                continue  # data
            self._text.append(line[position : match.start()])
            position = match.end()
            self._take_mark(match)
        self._take_line_end(line[position:])

    def _take_mark(self, match: re.Match[str]) -> None:
        self.marked = self.marked or bool(match["open"] or match["close"]) or match["channel"] is not None
        if match["channel"] is not None:
            final = match["channel"].strip().lower().startswith("final")
            self._switch("prose" if final else "thought")
        elif match["open"]:
            self._switch("thought")
        elif match["tool"]:
            self._switch("tool" if self._kind == "prose" else self._kind)
        elif match["close"] and self._kind == "prose":
            self._switch("prose")
            self._recall()
        elif match["close"] or match["end"] or (match["tool_end"] and self._kind == "tool"):
            self._switch("prose")

    def _take_line_end(self, text: str) -> None:
        if self._kind != "prose" or not self._opens_block(text):
            self._text.append(text + "\n")

    def _opens_block(self, text: str) -> bool:
        if "```" not in text and "~~~" not in text:
            return False
        self._layout.take("".join(self._text[self._laid_out :]))
        self._laid_out = len(self._text)
        fence = open_fence(text, may_indent=self._layout.may_indent)
        if fence is None and (glued := open_glued_fence(text)):
            self._text.append(glued[0])
            fence = glued[1]
        if fence is None:
            return False
        self._layout.take_block(text)
        self._switch("prose")
        if not self._trust_strings:
            fence.strings = None
        self._fence = fence
        return True

    def _switch(self, kind: _TextKind, *, closed: bool = True) -> None:
        """End the stretch of text and begin another."""
        text = "".join(self._text).strip("\n")
        if text.strip():
            self._segments.append(self._segment(text, closed=closed))
        self._text = []
        self._laid_out = 0
        self._kind = kind

    def _segment(self, text: str, *, closed: bool) -> Segment:
        if self._kind == "tool" and (call := from_text(text)):
            return Segment("code", call.code, call.language, call.name, closed, is_tool=True)
        return Segment("thought" if self._kind == "thought" else "prose", text, closed=closed)

    def _end_fence(self, *, closed: bool) -> None:
        if self._fence:
            self._segments.append(_code(self._fence, closed=closed))
        self._fence = None

    def _recall(self) -> None:
        for index in range(self._recalled, len(self._segments)):
            self._segments[index] = Segment("thought", self._segments[index].text)
        self._recalled = len(self._segments)


def _code(fence: Fence, *, closed: bool, line: str = "") -> Segment:
    """Return the segment of a block; `line` is the one that has not ended yet."""
    return Segment("code", fence.code(line), fence.language, fence.tag, closed)


def _may_end(text: str) -> bool:
    """Return whether text may hold a fence, or the end of a tool call."""
    return "`" in text or "~" in text or "l>" in text


def _find(text: str, mark: str, start: int) -> int:
    """Return where a mark stands next, or the text's end. A single character is found ten times as fast."""
    place = text.find(mark[0], start)
    if place >= 0 and len(mark) > 1:
        place = text.find(mark, place)
    return place if place >= 0 else len(text)


def _may_hold_mark(lines: str) -> bool:
    """Return whether lines are worth to be searched for marks, which takes ten times as long."""
    said = lines.lower()
    return (
        "think" in said
        or "thought" in said
        or "reasoning" in said
        or "tool_call" in said
        or ("|" in said and ("<|" in said or "<channel|" in said))
    )


def _marks(line: str, *, in_prose: bool) -> list[re.Match[str]]:
    """Return the marks of a line that do not stand in inline code. Before it is prose, there is none."""
    marks = _all_marks(line)
    ends = (match.end() for match in marks if not match["open"] and not match["tool"])
    spans = code_spans(line, 0 if in_prose else next(ends, len(line))) if "`" in line else []
    starts = [start for start, _ in spans]

    def is_code(position: int) -> bool:
        index = bisect_right(starts, position) - 1
        return index >= 0 and position < spans[index][1]

    return [match for match in marks if not is_code(match.start())]


def _all_marks(line: str) -> list[re.Match[str]]:
    """Return what ``_MARK.finditer`` would, without trying all its alternatives at every character."""
    marks: list[re.Match[str]] = []
    end = 0
    for start in MARK_START.finditer(line):
        if start.start() >= end and (match := _MARK.match(line, start.start())):
            marks.append(match)
            end = match.end()
    return marks
