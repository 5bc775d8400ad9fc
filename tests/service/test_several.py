"""Several addresses as one model, in real runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kowalski_jupyter.rlm import events as ev
from kowalski_jupyter.service.socket.wire import ServiceError
from tests.service.conftest import Desk
from tests.support.scripted_server import Reply, Request, ScriptedServer

Open = Callable[..., Desk]
CODE = 'FINAL(sum(int(n) for n in llm_query_batched([f"Number {i}" for i in range(60)])))'


def reply(request: Request) -> Reply:
    said = str(request.payload["messages"][-1]["content"])
    number = said.removeprefix("Number ")
    return Reply(number, delay=0.02) if number != said else Reply(f"```repl\n{CODE}\n```")


def subcalls(server: ScriptedServer) -> int:
    return sum("Number" in str(request.payload["messages"][-1]["content"]) for request in server.requests)


def test_sub_calls_are_spread_over_two_servers_and_survive_one(open_desk: Open) -> None:
    with ScriptedServer(reply) as one, ScriptedServer(reply) as two:
        desk = open_desk(one, embedded=False)
        url = f"{one.url}, {two.url}"
        outcome = desk.ask("What is the sum?", {"x": 1}, url=url, max_subcalls=1000)
        assert outcome.value == 1770
        assert subcalls(one) > 5
        assert subcalls(two) > 5

        one.stop()
        outcome = desk.ask("What is the sum?", {"x": 1}, url=url, fresh=True, max_subcalls=1000)
        assert outcome.value == 1770
        assert outcome.document["usage"]["subcalls"] == 60


def test_sub_calls_may_go_to_another_model_at_another_address(open_desk: Open) -> None:
    with ScriptedServer(reply, models=["large"]) as one, ScriptedServer(reply, models=["small"]) as two:
        desk = open_desk(one, embedded=False)
        url = f"{one.url} {two.url}"
        outcome = desk.ask("What is the sum?", {"x": 1}, url=url, model="large", sub_model="small", max_subcalls=99)

    assert outcome.value == 1770
    assert (subcalls(one), subcalls(two)) == (0, 60)
    assert {event.model for event in outcome.events if isinstance(event, ev.SubcallStarted)} == {"small"}


def test_an_address_that_is_not_there_is_said_and_left_out(open_desk: Open) -> None:
    with ScriptedServer(reply) as one:
        desk = open_desk(one, embedded=False)
        outcome = desk.ask("What is the sum?", {"x": 1}, url=f"http://127.0.0.1:9, {one.url}", max_subcalls=99)

    assert outcome.value == 1770
    assert any("127.0.0.1:9 cannot be used" in event.text for event in outcome.events if isinstance(event, ev.Progress))


def test_only_a_server_that_wants_a_key_is_given_it(open_desk: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOWALSKI_API_KEY", "secret-key")
    with ScriptedServer(reply) as one, ScriptedServer(reply) as two:
        desk = open_desk(one, embedded=False)
        desk.ask("What is the sum?", {"x": 1}, url=f"{one.url},{two.url}", max_subcalls=99)
        sent: list[Any] = [request.headers.get("authorization") for each in (one, two) for request in each.requests]

    assert set(sent) == {None}


def test_where_no_address_can_be_used_the_error_names_each(open_desk: Open) -> None:
    with ScriptedServer(reply) as one:
        desk = open_desk(one, embedded=False)
        try:
            outcome = desk.ask("What?", {"x": 1}, url="http://127.0.0.1:9, http://127.0.0.1:10")
        except ServiceError as error:
            said = str(error)
        else:
            said = outcome.document["error"]

    assert "127.0.0.1:9 cannot be used" in said
    assert "127.0.0.1:10 cannot be used" in said


def test_a_new_run_looks_for_another_model_where_all_are_gone(open_desk: Open) -> None:
    with ScriptedServer(reply) as one, ScriptedServer(reply) as two, ScriptedServer(reply) as three:
        desk = open_desk(one, embedded=False)
        url = f"{one.url}, {two.url}, {three.url}"
        three.stop()
        assert desk.ask("What is the sum?", {"x": 1}, url=url, max_subcalls=99).value == 1770
        one.stop()
        two.stop()
        waiting = desk.ask("What is the sum?", {"x": 1}, url=url, timeout=2.0, fresh=True, max_subcalls=99)
        assert "limit of seconds" in waiting.document["error"]
        failed = desk.ask("What is the sum?", {"x": 1}, url=url, max_subcalls=99)

    assert "None of the addresses can be used" in failed.document["error"]
