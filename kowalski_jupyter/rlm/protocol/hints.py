"""Code and answers that a reply holds in a form that does not count, so that the model can be told."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kowalski_jupyter.rlm.protocol.fences import code_spans
from kowalski_jupyter.rlm.protocol.languages import guess_language
from kowalski_jupyter.rlm.protocol.problems import Problem, ProblemKind

_FINAL = re.compile(r"\bfinal(?:_var)?[ \t]*\(", re.IGNORECASE)
_INDENTED = re.compile(r"(?:\A|\n[ \t]*\n)(?:(?: {4}|\t)[^\n]*(?:\n|\Z))+")
_LOOK_AT = 20_000  # characters: a hint need not be complete
_TRIPLE = re.compile(r"`{3,}\s*\w*\s*")


def hints(prose: str) -> list[Problem]:
    """Return what the prose of a reply without code and answer holds: at most one problem of a kind."""
    prose = prose[:_LOOK_AT]
    found: list[Problem] = []
    if _FINAL.search(prose):
        found.append(Problem(ProblemKind.FINAL_MISPLACED))
    if code := next(_unfenced(prose), None):
        found.append(code)
    return found


def _unfenced(prose: str) -> Iterator[Problem]:
    for match in _INDENTED.finditer(prose):
        if language := guess_language(match[0]):
            yield Problem(ProblemKind.INDENTED_CODE, language)
    for line in prose.split("\n"):
        for start, end in code_spans(line) if "`" in line else ():
            if language := guess_language(_TRIPLE.sub("", line[start:end], count=1).strip("`")):
                yield Problem(ProblemKind.INLINE_CODE, language)
    if language := guess_language(prose):
        yield Problem(ProblemKind.BARE_CODE, language)
