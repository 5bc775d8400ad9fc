"""The faults that benchmarks/faults shows in others, played to ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

import pytest

from benchmarks.faults.case import Case
from benchmarks.faults.cases import CASES
from benchmarks.faults.play import play
from benchmarks.implementations import OURS
from benchmarks.session import Session, open_session


def _params() -> list[object]:
    return [pytest.param(case, id=case.name) for case in CASES if not case.slow]


@pytest.fixture(scope="module")
def session_with() -> Iterator[Callable[[Mapping[str, float]], Session]]:
    """One process for all cases that set the same limits: it starts a service and a sandbox, once."""
    with ExitStack() as stack:
        sessions: dict[str, Session] = {}

        def session_with(options: Mapping[str, float]) -> Session:
            key = str(options)
            if key not in sessions:
                sessions[key] = stack.enter_context(open_session(OURS, options))
            return sessions[key]

        yield session_with


@pytest.mark.parametrize("case", _params())
def test_ours_keeps_the_promise(case: Case, session_with: Callable[[Mapping[str, float]], Session]) -> None:
    if excuse := case.excuse(OURS):
        pytest.skip(f"ours {excuse}")
    assert case.judge(play(case, OURS, session_with(case.options_for(OURS)))) == ""


def test_names_are_unique() -> None:
    names = [case.name for case in CASES]
    assert sorted(names) == sorted(set(names))
