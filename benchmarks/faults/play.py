"""Plays one case to one implementation, through its driver."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from benchmarks.faults.case import Case, Outcome
from benchmarks.implementations import Implementation
from benchmarks.session import DriverError, Session, is_subcall, turn_counter
from tests.support.scripted_server import Reply, Request

_START_SECONDS = 120.0
"""A driver may take so long for its imports."""

_END_SECONDS = 15.0
"""So long an interrupted run may take to come back."""

_QUIET_SECONDS = 1.0
"""Nothing sent within this, after all that was in flight has ended, is nothing sent any more."""


def play(case: Case, implementation: Implementation, session: Session) -> Outcome:
    """Play a case in a session that was started with its options.

    After an outcome that `hung`, the session can only be closed by force.
    """
    server = session.server
    server.script = _script(case, implementation)
    session.send({"context": case.context})
    session.receive(_START_SECONDS)
    before = len(server.requests)
    session.send_question()
    hung = False
    if case.interrupt_after:
        with suppress(AssertionError):  # a batch that never comes is seen by the judge
            server.wait_for(lambda: len(_subcalls(server.requests[before:])) >= case.interrupt_after, case.deadline)
        session.interrupt()
    try:
        said = session.receive(case.deadline)
    except TimeoutError:
        hung = True
        said = _give_up(session)
    except DriverError as error:
        said = {"error": str(error)}
    sent = len(server.requests)
    if case.interrupt_after:
        _wait_until_quiet(session)
    requests = server.requests[before:]
    return Outcome(
        said.get("answer"),
        said.get("error", ""),
        hung,
        [request for request in requests if not is_subcall(request)],
        _subcalls(requests),
        len(_subcalls(server.requests[sent:])),
    )


def _give_up(session: Session) -> dict[str, Any]:
    session.interrupt()
    with suppress(TimeoutError, DriverError):
        session.receive(_END_SECONDS)
    return {}


def _wait_until_quiet(session: Session) -> None:
    server = session.server
    with suppress(AssertionError):
        while True:
            seen = len(server.requests)
            server.wait_for(lambda: not server.in_flight)
            server.wait_for(lambda: len(server.requests) > seen, _QUIET_SECONDS)  # noqa: B023 - waited for here


def _subcalls(requests: Sequence[Request]) -> list[Request]:
    return [request for request in requests if is_subcall(request)]


def _script(case: Case, implementation: Implementation) -> Callable[[Request], Reply]:
    replies = case.root(implementation)
    turns = itertools.count()
    said = replies[0]
    turn_of = turn_counter()

    def script(request: Request) -> Reply:
        nonlocal said
        if is_subcall(request):
            reply = case.subcall(request)
            return replace(reply, text=implementation.say(reply.text))
        if case.by_turn:
            return replies[min(turn_of(request), len(replies) - 1)]
        # dspy asks once more, for JSON, where it could not read a reply; a model that is stuck says the same.
        if "response_format" not in request.payload:
            said = replies[min(next(turns), len(replies) - 1)]
        return said

    return script
