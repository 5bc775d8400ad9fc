"""Questions about the example data, each with its truth, worked out by plain code that reads the same data."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).parent / "data" / "jargon.txt"


def load(path: Path = DATA) -> tuple[str, dict[str, str]]:
    """Return the Jargon File twice: as one text, and as a dict from headword to entry, 2,307 of them."""
    jargon = path.read_text(encoding="utf-8")
    return jargon, dict(block.split("\n", 1) for block in re.split(r"\n(?=\S)", jargon))


@dataclass(frozen=True, slots=True)
class Question:
    """One kind of question.

    `data` names the variable that it is about: ``jargon``, the whole text, or ``entries``, the dict. `truth`
    works the answer out from the entries, and `agrees` says whether an answer is that truth.
    """

    name: str
    needs: str
    data: str
    text: str
    truth: Callable[[Mapping[str, str]], object]
    agrees: Callable[[object, object], bool]


def most_referred(entries: Mapping[str, str]) -> dict[str, int]:
    """Return the three terms that other entries refer to most, with the number of references."""
    return dict(Counter(re.findall(r"\{([^}]*)\}", " ".join(entries.values()))).most_common(3))


def longest(entries: Mapping[str, str]) -> str:
    """Return the headword of the longest entry."""
    return max(entries, key=lambda headword: len(entries[headword]))


def forger(entries: Mapping[str, str]) -> str:
    """Return who forged the kremvax posting: the name that follows these words in the entry."""
    found = re.search(r"forged by ([A-Z]\w+ [A-Z]\w+)", entries["kremvax"])
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


def coiners(entries: Mapping[str, str]) -> dict[str, str]:
    """Return who coined each term of whose entry says so in brackets: headword to name."""
    told = {headword: text for headword, text in entries.items() if "[coined by" in text}
    if told.keys() != _COINERS.keys() or any(_COINERS[headword] not in told[headword] for headword in told):
        raise LookupError("The entries that say “[coined by” are not the ones that were read.")
    return _COINERS


def same_counts(answer: object, truth: object) -> bool:
    """Whether the answer, a dict or pairs, holds the true counts, in whatever order."""
    try:
        return bool(dict(answer) == truth)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        return False


def same_text(answer: object, truth: object) -> bool:
    """Whether the answer is the true text, give or take blanks and a full stop."""
    return isinstance(answer, str) and answer.strip(" .\n") == truth


def same_names(answer: object, truth: object) -> bool:
    """Whether the answer, a dict, gives for each headword the true name, whole and with little else around it."""
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
        "longest",
        "comparing with code",
        "entries",
        "Which entry has the longest text? Give its headword.",
        longest,
        same_text,
    ),
    Question(
        "lookup",
        "finding a passage and reading it",
        "entries",
        "Who forged the posting that the entry kremvax tells of? Give the person's name.",
        forger,
        same_text,
    ),
    Question(
        "coined",
        "a sub-call for each part",
        "entries",
        "Some entries say in brackets who coined the term: they contain “[coined by”. Ask the model, for each of "
        "these entries, for the name of that person. Give a dict from headword to name.",
        coiners,
        same_names,
    ),
)
