"""The parts of routing that need no server."""

from __future__ import annotations

import asyncio

import pytest

from kowalski_jupyter.cluster.routing.breaker import Breaker
from kowalski_jupyter.cluster.routing.decisions import Decisions
from kowalski_jupyter.cluster.routing.pace import stock
from kowalski_jupyter.cluster.routing.score import Figures, Weights, cost, reasons
from kowalski_jupyter.cluster.routing.troubles import Troubles
from kowalski_jupyter.cluster.routing.width import Width


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_breaker_opens_after_three_failures_and_lets_one_try_through() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    for _ in range(2):
        breaker.failed()
    assert breaker.allows
    breaker.failed()
    assert not breaker.allows
    clock.now += 1.0
    assert breaker.allows
    breaker.sent()
    assert not breaker.allows  # one at a time
    breaker.failed()
    clock.now += 0.9
    assert not breaker.allows  # longer than the first time
    clock.now += 0.2
    breaker.sent()
    breaker.succeeded()
    assert breaker.closed


def test_failures_of_requests_that_were_under_way_do_not_lengthen_the_pause() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    for _ in range(20):
        breaker.failed(surely=True)
    clock.now += 0.6
    assert breaker.allows


def test_a_width_falls_with_the_throughput_and_rises_again() -> None:
    width = Width(8)
    for _ in range(8):
        width.replied(100, 1.0, 8)
    assert width.limit == 8
    for _ in range(8):
        width.replied(100, 2.0, 8)  # half as fast: it is too much for it
    assert width.limit == 6
    for _ in range(200):
        width.replied(100, 1.0, width.limit)
    assert width.limit == 8


def test_a_width_never_falls_to_nothing_and_short_replies_say_nothing() -> None:
    width = Width(8)
    for _ in range(50):
        width.replied(1, 0.001, 8)
    assert width.limit == 8
    for _ in range(20):
        width.refused()
    assert width.limit == 1


def test_what_waits_at_an_end_does_not_make_it_faster() -> None:
    width = Width(8)
    for _ in range(8):
        width.replied(100, 1.0, 12)
    for _ in range(8):
        width.replied(100, 1.0, 8)
    assert width.limit == 8


def test_an_end_has_a_reserve_for_short_replies_only() -> None:
    assert stock(8, 0.05, None) == 5
    assert stock(8, 0.05, 0.01) == 6  # it takes longer until the next is there
    assert stock(8, 0.001, 0.01) == 8  # no more than it works on
    assert stock(8, 1.0, 0.001) == 0
    assert stock(8, None, 0.001) == 0
    assert "its 8 places taken and 2 in reserve" in reasons(Figures(0.05, 10, 8))


def test_weights_choose() -> None:
    near_and_slow = Figures(2.0, 1, 8, round_trip=0.001)
    far_and_fast = Figures(1.0, 1, 8, round_trip=0.5)
    usual = Weights()
    assert cost(far_and_fast, usual, 1.0) < cost(near_and_slow, usual, 1.0)
    only_near = Weights.of({"speed": 0.0, "load": 0.0})
    assert cost(near_and_slow, only_near, 1.0) < cost(far_and_fast, only_near, 1.0)
    with pytest.raises(ValueError, match="A routing weight is one of speed, load, latency, staleness, prefix"):
        Weights.of({"sped": 1.0})


def test_decisions_of_the_same_kind_are_told_once() -> None:
    decisions = Decisions()
    for _ in range(3):
        decisions.note("subcall", "exo on studio", "it is near")
    decisions.note("root", "exo on mini", "it is fast")
    assert [(each["what"], each["where"]) for each in decisions.documents()] == [
        ("3 sub-calls", "exo on studio"),
        ("a turn", "exo on mini"),
    ]


def test_many_losses_are_told_in_one_line_for_each_reason() -> None:
    async def go() -> list[str]:
        told: list[str] = []
        tell, troubles = told.append, Troubles()
        for _ in range(3):
            troubles.lost(tell, "mini stopped answering", "subcall")
        troubles.lost(tell, "mini stopped answering", "root")
        troubles.lost(tell, "exo lost the reply on its way", "subcall")
        troubles.say(tell)
        troubles.lost(tell, "mini stopped answering", "subcall")
        troubles.say(tell)  # the user knows of it; what comes now is told later, and together
        troubles.close()
        return told

    assert asyncio.run(go()) == [
        "mini stopped answering: a turn and 3 sub-calls are sent again.",
        "exo lost the reply on its way: a sub-call is sent again.",
    ]
