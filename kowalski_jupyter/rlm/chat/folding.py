"""Makes room in the root's chat: older turns become a summary by the model, checked for what it must hold."""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import aclosing

from kowalski_jupyter.models.base import Message, ModelError, Sampling
from kowalski_jupyter.rlm.chat.history import History, TurnNote
from kowalski_jupyter.rlm.endpoints import Endpoint
from kowalski_jupyter.rlm.events import Event, Folded, Notice
from kowalski_jupyter.rlm.protocol.thoughts import strip_thoughts
from kowalski_jupyter.rlm.text import one_line

_SUMMARY_TOKENS = 400
_MARGIN_TOKENS = 100
_CHARS = 240
_KEPT_SHARE = 0.2
"""The part of the window that facts may take which a summary lacked."""

_REFUSED_SHARE = 0.7
"""The part of a chat's size that it may have after it was refused, by a count that may be off."""

_ASK = (
    "Before you go on: this chat is nearly full. Sum up in at most 150 words what you have done and found so far: "
    "each variable with what it holds, each figure and finding, what is decided and what is left to do. "
    "Only the summary, no code."
)

_FIGURE = r"\b\d\w*(?:[.,:/-]\d\w*)*"
_MARKS = re.compile(rf"{_FIGURE}|'[^'\n]{{2,40}}'|\"[^\"\n]{{2,40}}\"|\b[A-Z][\w-]{{3,}}\b")
_TOKENS = re.compile(rf"{_FIGURE}|\w+")
_DECIDES = re.compile(
    r"\b(assum|avoid|cho[os]s|conclud|decid|discard|disregard|drop|exclud|ignor|must|never|only|prefer|skip|treat)\w*"
    r"|\b(rul|leav|left)\w*\b.*\bout\b|\b(do|will|shall|should) not\b|\b(do|wo)n't\b|\binstead\b|\bfrom now on\b",
    re.IGNORECASE,
)
_WORD_CHARS, _STEM_CHARS = 4, 5


def note_of(turn: int, reply: str, code: str, output: str) -> TurnNote:
    """Return what a fold must keep of a turn, from its reply, the code that ran, and the output."""
    prose = re.split(r"```|~~~", reply, maxsplit=1)[0]
    shown = one_line(output, _CHARS + 1)
    return TurnNote(turn, one_line(prose, _CHARS), _bound_names(code), shown if len(shown) <= _CHARS else "")


def room(endpoint: Endpoint, reply_tokens: int) -> int | None:
    """Return the tokens that a chat may take before it must be folded; None where the window is not known."""
    window = endpoint.window
    return None if window is None else window - reply_tokens - _SUMMARY_TOKENS - _MARGIN_TOKENS


async def make_room(
    history: History,
    endpoint: Endpoint,
    *,
    turn: int,
    names: Collection[str],
    reply_tokens: int,
    seed: int,
    emit: Callable[[Event], None],
    refused: bool = False,
) -> None:
    """Fold the chat if it nears the window; where that is not enough, shorten what is left of it.

    Args:
        history: the chat; changed in place.
        endpoint: the root model.
        turn: the turn that comes next.
        names: the variables that the kernel holds.
        reply_tokens: the longest reply that must still fit.
        seed: for the summary.
        emit: takes the events.
        refused: the server has just refused the chat as too long, whatever the window.
    """
    size = endpoint.count_chat(history.messages)
    limit = room(endpoint, reply_tokens)
    if refused:
        limit = min(limit or size, int(size * _REFUSED_SHARE))
    if limit is None or size <= limit:
        return
    notes = history.foldable()
    if notes:
        before = len(history.text())
        started = time.monotonic()
        try:
            summary = await _summarise(history.older, endpoint, seed)
        except ModelError as error:
            emit(Notice(f"The chat could not be summed up ({error}); its facts were kept without the model."))
            summary = ""
        seconds = time.monotonic() - started
        kept = missing(summary, notes, names, chars=int(limit * _KEPT_SHARE * 3))
        whole = "\n".join([summary or "What was done so far.", *(["Also:", *kept] if kept else [])])
        history.fold(whole)
        emit(Folded(turn - 1, summary, kept, before, len(history.text()), seconds))
    while endpoint.count_chat(history.messages) > limit and history.shorten():
        pass


def is_request(messages: Sequence[Message]) -> bool:
    """Return whether a chat asks for the summary that a fold needs."""
    return messages[-1].content.endswith(_ASK)


def missing(summary: str, notes: Sequence[TurnNote], names: Collection[str], *, chars: int) -> list[str]:
    """Return what a summary should hold and does not, in lines of at most `chars` in all, the newest first to stay.

    That is each variable that still exists, and each turn whose short output the summary does not repeat, as far as
    figures, names and quoted texts go, or in whose words something was decided that it does not mention.
    """
    tokens = _TOKENS.findall(summary)
    words, said = set(tokens), _spaced(tokens)
    stems = {word[:_STEM_CHARS].lower() for word in tokens}
    bound = dict.fromkeys(name for note in notes for name in note.names if name in names)
    lost = [name for name in bound if name not in words]
    lines: list[str] = []
    left = chars
    if lost:
        line = one_line(f"Variables: {', '.join(lost)}", chars // 2)
        lines.append(line)
        left -= len(line)
    turns: list[str] = []
    for note in reversed(notes):
        if _has_finding(said, note.shown) and _has_decision(words, stems, note.says):
            continue
        line = note.line()
        if len(line) <= left:
            left -= len(line)
            turns.append(line)
    return [*lines, *reversed(turns)]


def _has_finding(said: str, shown: str) -> bool:
    """Return whether a summary, its tokens spaced, repeats an output: its marks, or all of it where it has none."""
    return all(_spaced(_TOKENS.findall(mark)) in said for mark in _MARKS.findall(shown) or [shown])


def _has_decision(words: Collection[str], stems: Collection[str], says: str) -> bool:
    """Return whether a summary mentions what a sentence decides: all its figures, and more than half of its words."""
    if not _DECIDES.search(says):
        return True
    tokens = _TOKENS.findall(says)
    own = [token[:_STEM_CHARS].lower() for token in tokens if len(token) >= _WORD_CHARS]
    has_figures = all(token in words for token in tokens if token[0].isdigit())
    return has_figures and 2 * sum(stem in stems for stem in own) > len(own)


def _spaced(tokens: Sequence[str]) -> str:
    """Return tokens as a text in which a token, or several, can be found whole; a space for none."""
    return " ".join(["", *tokens, ""])


async def _summarise(chat: Sequence[Message], endpoint: Endpoint, seed: int) -> str:
    """Ask for a summary at the end of a chat that is a prefix of what the server still has in its cache."""
    *earlier, last = chat
    messages = [*earlier, Message(last.role, f"{last.content}\n\n{_ASK}")]
    sampling = Sampling(max_tokens=_SUMMARY_TOKENS, seed=seed)
    pieces: list[str] = []
    async with aclosing(endpoint.stream(messages, sampling, "fold")) as deltas:
        async for delta in deltas:
            if delta.restarted:
                pieces.clear()
            pieces.append(delta.text)
    return strip_thoughts("".join(pieces)).strip()


def _bound_names(code: str) -> tuple[str, ...]:
    """Return the names that Python code binds, in order; empty if it cannot be parsed."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return ()
    return tuple(
        dict.fromkeys(
            node.name if isinstance(node, ast.FunctionDef | ast.ClassDef) else node.id
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
            or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
        )
    )
