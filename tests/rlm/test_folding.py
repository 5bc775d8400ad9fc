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
    summary = "`total` is 4711; names holds Ada Byron; clean() strips."

    assert missing(summary, NOTES, NAMES, chars=1000) == []


def test_lost_variables_and_findings_are_added_in_order() -> None:
    kept = missing("I did many things.", NOTES, NAMES, chars=1000)

    assert kept == [
        "Variables: total, clean, names",
        "Turn 1: I count. → 4711",
        "Turn 2: Now the names. → ['Ada Byron']",
    ]


def test_a_finding_within_another_word_or_figure_is_lost_all_the_same() -> None:
    debts, place = note_of(1, "Debts.", "", "7"), note_of(2, "Where?", "", "Bern")

    assert missing(
        "17 letters of 2017, 7.5 pages each, from 2017-07-07, of Bernhard", [debts, place], [], chars=500
    ) == [
        "Turn 1: Debts. → 7",
        "Turn 2: Where? → Bern",
    ]
    assert missing("In 2017: 7, at Bern.", [debts, place], [], chars=500) == []


def test_a_finding_without_figures_and_names_is_one_too() -> None:
    forged = note_of(1, "Is it real?", "print(check(notes))", "it is forged")

    assert missing("I looked whether it is real.", [forged], [], chars=500) == ["Turn 1: Is it real? → it is forged"]
    assert missing("By its paper it is forged.", [forged], [], chars=500) == []


def test_a_lost_decision_is_added_whatever_the_turn_has_put_out() -> None:
    silent = note_of(1, "I decide to ignore all letters before 1850, which are copies.", "print()", "")
    long = note_of(2, "I rule out Bern.", "print(notes)", "long " * 1000)
    plain = note_of(3, "I look at the next part.", "print(notes)", "long " * 1000)

    assert missing("I looked at letters of 2017.", [silent, long, plain], [], chars=500) == [
        "Turn 1: I decide to ignore all letters before 1850, which are copies.",
        "Turn 2: I rule out Bern.",
    ]
    assert missing("Ignored letters before 1850 as copies; ruled out Bern.", [silent], [], chars=500) == []


def test_a_finding_that_has_room_is_added_though_a_newer_one_has_none() -> None:
    notes = [note_of(1, "Debts.", "", "7"), note_of(2, "Places.", "", "'Bern' " * 30)]

    assert missing("", notes, [], chars=100) == ["Turn 1: Debts. → 7"]


def test_variables_that_are_gone_are_not_spoken_of() -> None:
    assert missing("4711, Ada Byron", NOTES[:2], ["notes", "total"], chars=1000) == ["Variables: total"]


def test_where_room_is_short_the_latest_findings_stay() -> None:
    kept = missing("", NOTES, NAMES, chars=70)

    assert sum(map(len, kept)) <= 70
    assert kept[-1].startswith("Turn 2")


def test_code_that_is_no_python_binds_nothing() -> None:
    assert note_of(1, "", "if :", "").names == ()
