"""What a fold keeps; tests/service/test_engine.py shows one in a run."""

from __future__ import annotations

from kowalski_jupyter.rlm.chat.folding import missing, note_of

NOTES = [
    note_of(1, "I count.\n```repl\ntotal = len(notes)\n```", "total = len(notes)", "4711"),
    note_of(2, "Now the names.", "names = re.findall('x', notes)\ndef clean(text): ...", "['Ada Byron']"),
    note_of(3, "All of it.", "print(notes)", "long " * 1000),
]
NAMES = ["notes", "total", "names", "clean"]


def test_nothing_is_added_to_a_summary_that_has_it_all() -> None:
    summary = "`total` is 4711; names holds Ada Byron; clean() strips. Then long: (5,000 characters)."

    assert missing(summary, NOTES[:2], NAMES, chars=1000) == []


def test_lost_variables_and_findings_are_added_in_order() -> None:
    kept = missing("I did many things.", NOTES, NAMES, chars=1000)

    assert kept[:3] == [
        "Variables: total, clean, names",
        "Turn 1: I count. → 4711",
        "Turn 2: Now the names. → ['Ada Byron']",
    ]
    assert "5,000 characters" in kept[3]


def test_variables_that_are_gone_are_not_spoken_of() -> None:
    assert missing("4711, Ada Byron", NOTES[:2], ["notes", "total"], chars=1000) == ["Variables: total"]


def test_where_room_is_short_the_latest_findings_stay() -> None:
    kept = missing("", NOTES, NAMES, chars=170)

    assert sum(map(len, kept)) <= 170
    assert kept[-1].startswith("Turn 3")


def test_code_that_is_no_python_binds_nothing() -> None:
    assert note_of(1, "", "if :", "").names == ()
