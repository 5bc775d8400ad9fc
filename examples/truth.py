"""Questions about the example data, each with its truth, worked out by plain code that reads the same data."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).parent / "data" / "jargon.txt"


Entries = Sequence[Mapping[str, str]]


def load(path: Path = DATA) -> tuple[str, list[dict[str, str]]]:
    """Return the Jargon File twice: as one text, and as a list of 2,307 entries, each with ``term`` and ``text``."""
    jargon = path.read_text(encoding="utf-8")
    parts = [block.split("\n", 1) for block in re.split(r"\n(?=\S)", jargon)]
    return jargon, [{"term": term, "text": text} for term, text in parts]


@dataclass(frozen=True, slots=True)
class Question:
    """One kind of question.

    `data` names the variable that it is about: ``jargon``, the whole text, ``entries``, the list, or
    ``passages``, a few short paragraphs. `truth` works the answer out from the text and the list, and `agrees` says
    whether an answer is that truth.
    """

    name: str
    needs: str
    data: str
    text: str
    truth: Callable[[str, Entries], object]
    agrees: Callable[[object, object], bool]


def lines_with_unix(jargon: str, entries: Entries) -> int:
    """Return how many lines of the text mention Unix."""
    del entries
    return sum("Unix" in line for line in jargon.splitlines())


def about_both(jargon: str, entries: Entries) -> int:
    """Return how many entries mention both Linux and Microsoft."""
    del jargon
    return sum("Linux" in entry["text"] and "Microsoft" in entry["text"] for entry in entries)


def forger(jargon: str, entries: Entries) -> str:
    """Return who forged the kremvax posting: the name that follows these words in the entry."""
    del jargon
    text = next(entry["text"] for entry in entries if entry["term"] == "kremvax")
    found = re.search(r"forged by ([A-Z]\w+ [A-Z]\w+)", text)
    if found is None:
        raise LookupError("The entry kremvax does not name the forger.")
    return found[1]


_MADE_BY = re.compile(
    r"\b(?:coined|created|designed|developed|invented|written) by ([A-Z][a-z]+ [A-Z][a-z]+)",
)


def passages(entries: Entries) -> list[str]:
    """Return the short paragraphs that say, once, by whom something was made: what a user may have picked out."""
    paragraphs = (" ".join(part.split()) for entry in entries for part in entry["text"].split("\n\n"))
    return [part for part in paragraphs if len(part) < _SHORT and len(_MADE_BY.findall(part)) == 1]


def makers(jargon: str, entries: Entries) -> list[str]:
    """Return whom each of the passages says that something is by."""
    del jargon
    return [_MADE_BY.findall(passage)[0] for passage in passages(entries)]


_SHORT = 350


def same_number(answer: object, truth: object) -> bool:
    """Whether the answer is the true number, as a number."""
    return type(answer) is int and answer == truth


def same_text(answer: object, truth: object) -> bool:
    """Whether the answer is the true text, give or take blanks and a full stop."""
    return isinstance(answer, str) and answer.strip(" .\n") == truth


def same_names(answer: object, truth: object) -> bool:
    """Whether the answer is a list of as many texts, each with the true last name in it and with little else."""
    return (
        isinstance(answer, list)
        and isinstance(truth, list)
        and len(answer) == len(truth)
        and all(isinstance(said, str) and name.split()[-1] in said for said, name in zip(answer, truth, strict=True))
        and all(len(said) < _NAME for said in answer)
    )


_NAME = 100
"""Characters that a name may take, in a sentence at most; the passage itself is no answer."""


QUESTIONS = (
    Question(
        "count",
        "counting with code",
        "jargon",
        "How many lines mention Unix?",
        lines_with_unix,
        same_number,
    ),
    Question(
        "filter",
        "filtering with code",
        "entries",
        "How many entries mention both Linux and Microsoft?",
        about_both,
        same_number,
    ),
    Question(
        "lookup",
        "finding a passage and reading it",
        "entries",
        "According to the entry “kremvax”, who forged the posting? Give the person's name.",
        forger,
        same_text,
    ),
    Question(
        "people",
        "a sub-call for each part",
        "passages",
        "Ask the language model about each passage: who came up with it? Give the list of the names.",
        makers,
        same_names,
    ),
)
