"""A run's output where our extension is not: what a reader of the HTML, the Markdown or the text is told."""

from __future__ import annotations

from typing import Any

import pytest

from kowalski_jupyter.api.bundle import run_bundle
from kowalski_jupyter.rlm import events as ev
from kowalski_jupyter.rlm.trace import Trace

EVIL = "<script>alert(1)</script>"
CODE = "```python\nx = rlm_query_batched(parts)\n```"


def started(**fields: str) -> ev.RunStarted:
    return ev.RunStarted("r-1-2", "How many?", "loop", "jupyter server", [], 3, 900.0, time=1.0, **fields)


def bundle(*events: ev.Event) -> dict[str, Any]:
    return run_bundle(Trace.of(events).document())


@pytest.fixture
def long_run() -> dict[str, Any]:
    """A child run that was folded before its third turn, remembered a reply, and was ended by a limit."""
    return bundle(
        started(parent="r-1", origin="r-0"),
        ev.TurnStarted(1, time=2.0),
        ev.TurnStarted(2, time=3.0),
        ev.Folded(2, f"Read so far: {EVIL}", [f"Variables: {EVIL}"], 9000, 900, 4.1),
        ev.TurnStarted(3, time=4.0),
        ev.ReplyDelta(3, CODE),
        ev.ReplyFinished(3, CODE, "stop", 1.0),
        ev.CellStarted(3, "3.1", "python", "x = rlm_query_batched(parts)"),
        ev.SubcallStarted("3.1", 1, "m", "How many in May?", run="r-1-2-1"),
        ev.SubcallFinished(1, "203", "", 2.0),
        ev.SubcallStarted("3.1", 2, "m", "How many in June?"),
        ev.SubcallFinished(2, "177", "", 0.0, remembered=True),
        ev.CellFinished("3.1", "ok", "", 2.0),
        ev.Answered("int", "380", partial=True),
        ev.RunFinished("failed", "All 3 turns are used. Allow more with --max-turns 6.", 9.0, time=10.0),
    )


def test_a_partial_answer_is_called_so_beside_what_ended_the_run(long_run: dict[str, Any]) -> None:
    for form in ("text/html", "text/markdown", "text/plain"):
        shown = long_run[form].replace("\\", "")
        assert shown.index("Allow more with --max-turns 6") < shown.index("Best answer so far") < shown.index("380")


def test_a_fold_stands_before_the_turn_that_follows_it(long_run: dict[str, Any]) -> None:
    for form in ("text/html", "text/markdown"):
        shown = long_run[form]
        title = "Turns 1–2 folded (summary) · 4.1 s"  # noqa: RUF001 (a range takes an en dash)
        assert shown.index("Turn 2") < shown.index(title) < shown.index("Variables: ") < shown.index("Turn 3")
        assert EVIL not in shown


def test_sub_calls_tell_which_were_remembered_and_which_child_run_answered(long_run: dict[str, Any]) -> None:
    assert "2 sub-calls, 1 remembered" in long_run["text/html"]
    assert "2 sub-calls, 1 remembered" in long_run["text/markdown"]
    assert "<td>ok, run r-1-2-1</td>" in long_run["text/html"]
    assert "<td>ok, remembered</td>" in long_run["text/html"]


def test_where_a_run_comes_from_and_what_it_waits_for(long_run: dict[str, Any]) -> None:
    waiting = bundle(started(), ev.TurnStarted(1, time=2.0), ev.ApprovalAsked(1, "1.1", "python", "print(1)", time=3.0))

    assert "Asked by run r-1<" in long_run["text/html"]
    assert "Made from run r-0<" in long_run["text/html"]
    assert "Block 1.1 waits for your word" in waiting["text/html"]
    assert "Asked by" not in waiting["text/html"]


def test_pictures_and_tables_are_shown_and_said_where_they_cannot_be() -> None:
    shown = bundle(
        started(),
        ev.TurnStarted(1, time=2.0),
        ev.CellStarted(1, "1.1", "python", "plot()"),
        ev.CellOutput("1.1", "display", 'a "curve"', 0, "image/png", "iVBORw0K"),
        ev.CellOutput("1.1", "result", "   n\n0  1", 0, "text/html", "<table><tr><td>1</td></tr></table>"),
        ev.CellFinished("1.1", "ok", "", 2.0),
    )
    assert '<img src="data:image/png;base64,iVBORw0K" alt="a &quot;curve&quot;">' in shown["text/html"]
    assert "<table><tr><td>1</td></tr></table>" in shown["text/html"]
    assert 'a "curve"' in shown["text/markdown"]
    assert "iVBOR" not in shown["text/markdown"]
