"""The faults that benchmarks/faults shows in others, played to ours."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.faults.case import Case
from benchmarks.faults.cases import CASES
from benchmarks.faults.play import play
from benchmarks.implementations import OURS
from benchmarks.session import Session, open_session

_OPEN = {
    "overwritten-final": "the kernel does not bring FINAL back when code has assigned to it",
    "children-keep-apart": "there are no child runs yet",
}


def _params() -> list[object]:
    marks = {name: [pytest.mark.xfail(reason=reason)] for name, reason in _OPEN.items()}
    return [pytest.param(case, id=case.name, marks=marks.get(case.name, [])) for case in CASES if not case.slow]


@pytest.fixture(scope="module")
def shared() -> Iterator[Session]:
    """One process for the cases that set no limits: it starts a service and a sandbox, once."""
    with open_session(OURS) as session:
        yield session


@pytest.mark.parametrize("case", _params())
def test_ours_keeps_the_promise(case: Case, request: pytest.FixtureRequest) -> None:
    if excuse := case.excuse(OURS):
        pytest.skip(f"ours {excuse}")
    options = case.options_for(OURS)
    if not options:
        assert case.judge(play(case, OURS, request.getfixturevalue("shared"))) == ""
        return
    with open_session(OURS, options) as session:
        assert case.judge(play(case, OURS, session)) == ""


def test_names_are_unique() -> None:
    names = [case.name for case in CASES]
    assert sorted(names) == sorted(set(names))
