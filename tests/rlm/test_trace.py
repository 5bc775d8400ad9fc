"""A run's document: however often it is asked for on the way, it ends as one that is asked for once."""

from __future__ import annotations

from kowalski_jupyter.rlm import events as ev
from kowalski_jupyter.rlm.trace import Trace


def run_of(turns: int) -> list[ev.Event]:
    """A run with a sub-call in each turn, the last of which comes back only after the run has gone on."""
    events: list[ev.Event] = [ev.RunStarted("r-1", "What?", "loop", "here", [], 10, 60.0)]
    for turn in range(1, turns + 1):
        cell = f"{turn}.1"
        events += [
            ev.TurnStarted(turn),
            ev.ReplyDelta(turn, "Let me see.\n"),
            ev.ReplyDelta(turn, "```repl\nprint(1)\n```\n"),
            ev.ReplyFinished(turn, "Let me see.\n```repl\nprint(1)\n```\n", "stop", 1.0),
            ev.CellStarted(turn, cell, "python", "print(1)"),
            ev.SubcallStarted(cell, turn, "m", "Is it so?"),
            ev.SubcallSent(turn),
            ev.CellOutput(cell, "stdout", "1\n" * 50),
            ev.CellFinished(cell, "ok", "", 0.1),
        ]
        if turn > 1:
            events.append(ev.SubcallFinished(turn - 1, "yes", "", 0.5))
    events += [ev.Answered("int", "1"), ev.RunFinished("done", "", 3.0)]
    for seq, event in enumerate(events, 1):
        event.stamp(seq, float(seq))
    return events


def test_looking_on_the_way_changes_nothing() -> None:
    events = run_of(5)
    watched = Trace()
    for event in events:
        watched.apply(event)
        watched.document()

    assert watched.document() == Trace.of(events).document()
    turns = watched.document()["turns"]
    assert [turn["state"] for turn in turns] == ["done"] * 5
    assert [turn["parts"][1]["outputs"][0]["length"] for turn in turns] == [100] * 5
    assert [turn["parts"][1]["subcalls"][0]["state"] for turn in turns] == ["ok"] * 4 + ["error"]


def test_a_long_run_stays_short_enough_for_a_notebook_however_it_is_looked_at() -> None:
    events = run_of(400)
    watched = Trace()
    for event in events:
        watched.apply(event)
        if isinstance(event, ev.TurnStarted):
            watched.document()

    assert watched.document() == Trace.of(events).document()


def test_pictures_have_room_of_their_own_and_the_newest_stay() -> None:
    size = 150_000
    events = run_of(5)
    drawn = [event for event in events if isinstance(event, ev.CellOutput)]
    for number, event in enumerate(drawn):
        place = events.index(event) + 1
        events.insert(place, ev.CellOutput(event.cell, "display", f"[picture {number}]", 0, "image/png", "x" * size))
    watched = Trace()
    for event in events:
        watched.apply(event)
        watched.document()

    assert watched.document() == Trace.of(events).document()
    outputs = [turn["parts"][1]["outputs"] for turn in watched.document()["turns"]]
    assert [output[1]["text"] for output in outputs] == [f"[picture {number}]" for number in range(5)]
    assert [output[1]["rich"] is not None for output in outputs] == [False, False, False, True, True]
    assert [output[0]["length"] for output in outputs] == [100] * 5
    assert len(outputs[0][0]["text"]) == 100
