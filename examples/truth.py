"""Questions about the example data, each with its truth, worked out by plain code that reads the same data."""

from __future__ import annotations

import re
from collections import Counter
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

    `data` names the variable that it is about: ``jargon``, the whole text, or ``entries``, the list. `truth`
    works the answer out from the entries, and `agrees` says whether an answer is that truth.
    """

    name: str
    needs: str
    data: str
    text: str
    truth: Callable[[Entries], object]
    agrees: Callable[[object, object], bool]


def most_referred(entries: Entries) -> dict[str, int]:
    """Return the three terms that other entries refer to most, with the number of references."""
    return dict(Counter(re.findall(r"\{([^}]*)\}", " ".join(entry["text"] for entry in entries))).most_common(3))


def about_both(entries: Entries) -> int:
    """Return how many entries mention both Linux and Microsoft."""
    return sum("Linux" in entry["text"] and "Microsoft" in entry["text"] for entry in entries)


def forger(entries: Entries) -> str:
    """Return who forged the kremvax posting: the name that follows these words in the entry."""
    text = next(entry["text"] for entry in entries if entry["term"] == "kremvax")
    found = re.search(r"forged by ([A-Z]\w+ [A-Z]\w+)", text)
    if found is None:
        raise LookupError("The entry kremvax does not name the forger.")
    return found[1]


# Read by a person in the five entries; `coiners` checks that the data says so.
_COINERS = {
    "cybercrud": "Ted Nelson",
    "ice": "Tom Maddox",
    "meme": "Richard Dawkins",
    "syntactic sugar": "Peter Landin",
    "Trojan horse": "Dan Edwards",
}


def coiners(entries: Entries) -> dict[str, str]:
    """Return who coined each term whose entry says so in brackets: term to name."""
    told = {entry["term"]: entry["text"] for entry in entries if "[coined by" in entry["text"]}
    if told.keys() != _COINERS.keys() or any(_COINERS[term] not in told[term] for term in told):
        raise LookupError("The entries that say “[coined by” are not the ones that were read.")
    return _COINERS


def same_counts(answer: object, truth: object) -> bool:
    """Whether the answer, a dict or pairs, holds the true counts, in whatever order."""
    try:
        return bool(dict(answer) == truth)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        return False


def same_number(answer: object, truth: object) -> bool:
    """Whether the answer is the true number, as a number."""
    return type(answer) is int and answer == truth


def same_text(answer: object, truth: object) -> bool:
    """Whether the answer is the true text, give or take blanks and a full stop."""
    return isinstance(answer, str) and answer.strip(" .\n") == truth


def same_names(answer: object, truth: object) -> bool:
    """Whether the answer, a dict, gives for each term the true name, whole and with little else around it."""
    return (
        isinstance(answer, Mapping)
        and isinstance(truth, Mapping)
        and answer.keys() == truth.keys()
        and all(isinstance(answer[key], str) and str(truth[key]) in answer[key] for key in truth)
        and all(len(answer[key]) < 100 for key in truth)  # noqa: PLR2004 (a name or a sentence, not the entry)
    )


QUESTIONS = (
    Question(
        "cross-references",
        "counting with code",
        "jargon",
        "Terms in braces, like {bit bucket}, refer to other entries. "
        "Which three terms are referred to most often, and how many times each?",
        most_referred,
        same_counts,
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
        "coined",
        "a sub-call for each part",
        "entries",
        "Some entries say in brackets who coined the term: they contain “[coined by”. Ask the model, for each of "
        "these entries, for the name of that person. Give a dict from term to name.",
        coiners,
        same_names,
    ),
)
