"""Several servers as one model."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from kowalski_jupyter.models.base import ModelRejectedError
from tests.cluster.routing.conftest import Open
from tests.support.scripted_server import Reply, Request, ScriptedServer


def echo(request: Request) -> str:
    return str(request.payload["messages"][-1]["content"])


def test_requests_go_where_there_is_room(open_pool: Open) -> None:
    async def go() -> None:
        async with open_pool([(one, {"width": 2}), (two, {"width": 6})]) as desk:
            assert desk.pool.width == 8
            assert await desk.ask_many(40) == [f"Number {n}" for n in range(40)]

    with (
        ScriptedServer(lambda _: Reply(echo(_), delay=0.05)) as one,
        ScriptedServer(lambda _: Reply(echo(_), delay=0.05)) as two,
    ):
        asyncio.run(go())
        assert one.max_in_flight <= 2
        assert two.max_in_flight <= 6
        assert len(one.requests) + len(two.requests) == 40
        assert len(two.requests) > len(one.requests) > 0


def test_what_one_server_loses_another_is_asked_for(open_pool: Open) -> None:
    async def go() -> None:
        async with open_pool([(one, {"width": 4}), (two, {"width": 4})]) as desk:
            asking = asyncio.create_task(desk.ask_many(40))
            await asyncio.to_thread(one.wait_for, lambda: len(one.requests) > 6)
            await asyncio.to_thread(one.stop)
            assert await asking == [f"Number {n}" for n in range(40)]
            assert any("sent again" in line for line in desk.told)

    with (
        ScriptedServer(lambda _: Reply(echo(_), delay=0.05)) as one,
        ScriptedServer(lambda _: Reply(echo(_), delay=0.05)) as two,
    ):
        asyncio.run(go())


@pytest.mark.parametrize("fault", ["empty", "error-chunk", "die", "reset", "done-only", "garbage"])
def test_a_reply_that_breaks_off_begins_anew_elsewhere(open_pool: Open, fault: str) -> None:
    async def go() -> None:
        async with open_pool([(one, {"width": 1}), (two, {"width": 1})]) as desk:
            assert await desk.ask_many(6) == [f"Number {n}" for n in range(6)]

    with ScriptedServer(lambda _: Reply(echo(_), fault=fault)) as one, ScriptedServer(echo) as two:
        asyncio.run(go())
        assert one.requests


def test_a_request_that_is_at_fault_itself_is_tried_elsewhere_and_then_refused(open_pool: Open) -> None:
    async def go() -> None:
        async with open_pool([(one, {}), (two, {})]) as desk:
            with pytest.raises(ModelRejectedError, match="no such thing"):
                await desk.ask("Do the impossible")
            assert await desk.ask("Hello") == "Hello"

    def reply(request: Request) -> Reply | str:
        return Reply(status=400, error="no such thing") if "impossible" in echo(request) else echo(request)

    with ScriptedServer(reply) as one, ScriptedServer(reply) as two:
        asyncio.run(go())
        assert Counter(len([r for r in each.requests if "impossible" in echo(r)]) for each in (one, two)) == {1: 2}


def test_a_request_that_fails_everywhere_is_given_up_in_the_end(open_pool: Open) -> None:
    async def go() -> None:
        async with open_pool([(one, {})]) as desk:
            with pytest.raises(Exception, match="Killed"):
                await desk.ask("Poison")

    with ScriptedServer(lambda _: Reply("", fault="error-chunk", error="Killed")) as one:
        asyncio.run(go())
        assert 3 <= len(one.requests) <= 6


def test_a_long_prompt_goes_only_where_it_fits(open_pool: Open) -> None:
    async def go() -> None:
        async with open_pool([(one, {"context_tokens": 1000}), (two, {"context_tokens": 100_000})]) as desk:
            assert desk.pool.context_tokens == 100_000
            await asyncio.gather(*(desk.ask("word " * 2000) for _ in range(5)))

    with ScriptedServer(["ok"] * 9) as one, ScriptedServer(["ok"] * 9) as two:
        asyncio.run(go())
        assert (len(one.requests), len(two.requests)) == (0, 5)


def test_a_turn_is_sent_before_sub_calls_that_wait(open_pool: Open) -> None:
    async def go() -> None:
        async with open_pool([(one, {"width": 1})]) as desk:
            calls = [asyncio.create_task(desk.ask(f"sub {n}")) for n in range(5)]
            await asyncio.sleep(0)
            assert desk.router.dispatcher.waiting == 4
            await asyncio.to_thread(one.wait_for, lambda: len(one.requests) == 1)
            await desk.ask("turn", "root")
            await asyncio.gather(*calls)

    with ScriptedServer(lambda _: Reply(echo(_), delay=0.05)) as one:
        asyncio.run(go())
        assert [echo(request) for request in one.requests[:2]] == ["sub 0", "turn"]


def test_prompts_that_begin_alike_go_one_after_the_other(open_pool: Open) -> None:
    async def go() -> None:
        async with open_pool([(one, {"width": 1})]) as desk:
            await asyncio.gather(*(desk.ask(("a" if n % 2 else "b") * 500 + str(n)) for n in range(8)))

    with ScriptedServer(lambda _: Reply(echo(_), delay=0.01)) as one:
        asyncio.run(go())
        assert "".join(echo(request)[0] for request in one.requests) in {"bbbbaaaa", "baaaabbb"}


def test_a_slow_server_gets_less_and_not_the_last(open_pool: Open) -> None:
    async def go() -> None:
        async with open_pool([(slow, {"width": 4}), (fast, {"width": 4})]) as desk:
            await desk.ask_many(120)
            said = [each["why"] for each in desk.router.dispatcher.decisions.documents()]
            assert any("replies in about" in why for why in said)

    with (
        ScriptedServer(lambda _: Reply("ok", delay=0.6)) as slow,
        ScriptedServer(lambda _: Reply("ok", delay=0.03)) as fast,
    ):
        asyncio.run(go())
        assert len(slow.requests) < len(fast.requests) / 3
        # The last were not begun at the slow one when the fast one would be done with all of them sooner.
        assert max(request.started for request in slow.requests) < max(request.started for request in fast.requests)


@pytest.mark.parametrize(("seconds", "won"), [((9.0, 0.0), True), ((3.0, 30.0), False)], ids=["second", "first"])
def test_a_reply_that_takes_too_long_is_asked_for_twice_and_counts_once(
    open_pool: Open, seconds: tuple[float, float], won: bool
) -> None:
    """And the user is told in one line; `--why` says what went where."""
    late: list[str] = []
    made: list[dict[str, Any]] = []

    def reply(request: Request) -> Reply:
        if "late" not in echo(request):
            return Reply(echo(request), delay=0.01)
        late.append(request.headers["host"])
        return Reply(echo(request), delay=seconds[len(late) - 1])

    async def go() -> list[str]:
        async with open_pool([(one, {"width": 4}), (two, {"width": 4})]) as desk:
            await desk.ask_many(80)
            assert await desk.ask("late") == "late"
            async with asyncio.timeout(60):
                while not desk.told:  # noqa: ASYNC110 (nobody tells)
                    await asyncio.sleep(0.05)
            made.extend(each for each in desk.router.dispatcher.decisions.documents() if each["did"] != "went to")
            return desk.told  # type: ignore[no-any-return]

    with ScriptedServer(reply) as one, ScriptedServer(reply) as two:
        (line,) = asyncio.run(go())

    first, second = late
    end = "the second reply came first." if won else "the first reply came first all the same."
    assert line == f"a sub-call took twice as long as 19 of 20 others and was asked a second time; {end}"
    assert [(each["what"], each["did"], each["where"], each["why"]) for each in made] == [
        ("a sub-call", "also went to", second, f"{first} has taken twice as long for it as for 19 of 20 others"),
        ("a sub-call", "was answered first by", second, f"asked second, the request to {first} is dropped")
        if won
        else ("a sub-call", "was answered first by", first, f"asked first, the request to {second} is dropped"),
    ]


def test_what_is_late_is_asked_a_second_time_as_soon_as_there_is_room(open_pool: Open) -> None:
    """Many wait when it is late first: they are served before."""

    async def go() -> None:
        async with open_pool([(one, {"width": 4}), (two, {"width": 4})]) as desk:
            await desk.ask_many(40)
            late = asyncio.create_task(desk.ask("late"))
            await asyncio.gather(*(desk.ask(f"wait {n}") for n in range(60)))
            assert await late == "late"

    tries: list[str] = []

    def reply(request: Request) -> Reply:
        said = echo(request)
        if "late" in said:
            tries.append(said)
            return Reply(said, delay=0.0 if tries[1:] else 60.0)
        return Reply(said, delay=0.1 if "wait" in said else 0.01)

    with ScriptedServer(reply) as one, ScriptedServer(reply) as two:
        asyncio.run(go())
    assert len(tries) == 2


def test_nothing_is_hedged_where_the_user_says_so(open_pool: Open) -> None:
    async def go() -> None:
        async with open_pool([(one, {"width": 4}), (two, {"width": 4})], hedges=False) as desk:
            await desk.ask_many(60)
            await asyncio.gather(*(desk.ask(f"late {n}") for n in range(4)))

    def reply(request: Request) -> Reply:
        return Reply(echo(request), delay=0.6 if "late" in echo(request) else 0.01)

    with ScriptedServer(reply) as one, ScriptedServer(reply) as two:
        asyncio.run(go())
        assert len(one.requests) + len(two.requests) == 64


def test_cancelled_requests_leave_their_places(open_pool: Open) -> None:
    async def go() -> None:
        async with open_pool([(one, {"width": 2})]) as desk:
            calls = [asyncio.create_task(desk.ask(f"slow {n}")) for n in range(6)]
            await asyncio.to_thread(one.wait_for, lambda: one.in_flight == 2)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            await asyncio.to_thread(one.wait_for, lambda: one.in_flight == 0)
            assert await desk.ask("quick") == "quick"

    def reply(request: Request) -> Reply:
        return Reply(echo(request), delay=30.0 if "slow" in echo(request) else 0.0)

    with ScriptedServer(reply) as one:
        asyncio.run(go())
