"""What is kept of how a device was."""

from __future__ import annotations

import pytest

from kowalski_jupyter.cluster.history import History

START = 1_800_000_000.0


def test_the_last_minutes_are_kept_by_the_second() -> None:
    history = History()
    for second in range(200):
        history.add(START + second, memory=second / 200)
    trend = history.trend("memory", START + 199, 120)
    assert len(trend) == 120
    assert trend[-1] == pytest.approx(199 / 200, abs=1e-4)
    assert trend[0] == pytest.approx(80 / 200, abs=1e-4)


def test_a_day_is_kept_as_means_of_five_minutes() -> None:
    history = History()
    for minute in range(26 * 60):
        history.add(START + 60 * minute, load=1.0 if minute % 5 == 0 else 0.0)
    trend = history.trend("load", START + 60 * (26 * 60 - 1), 86_400)
    assert len(trend) == 288
    assert all(mean == pytest.approx(0.2) for mean in trend)


def test_nothing_is_made_up_where_nothing_was_known() -> None:
    history = History()
    history.add(START, memory=0.5, temperature=None)
    history.add(START + 30, memory=0.7)
    assert history.trend("memory", START + 30, 60) == [*[None] * 29, 0.5, *[None] * 29, pytest.approx(0.7)]
    assert set(history.trend("temperature", START + 30, 600)) == {None}
    assert set(history.trend("memory", START + 100_000, 86_400)[100:]) == {None}
    history.add(START + 5_000, memory=0.9)  # longer than the finest ring
    assert history.trend("memory", START + 5_000, 120) == [*[None] * 119, pytest.approx(0.9)]


def test_a_clock_that_is_set_back_changes_nothing() -> None:
    history = History()
    history.add(START, memory=0.5)
    history.add(START - 500, memory=0.9)
    assert history.trend("memory", START, 1) == [0.5]
