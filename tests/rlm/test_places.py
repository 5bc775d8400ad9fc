"""How many requests a server gets at a time that says that it is full."""

from __future__ import annotations

import asyncio

from kowalski_jupyter.rlm.places import Place, Places


async def fill(places: Places, taken: list[Place]) -> int:
    """Take all places that there are, and say how many are taken then."""
    while True:
        place = asyncio.create_task(places.take())
        await asyncio.sleep(0)
        if not place.done():
            place.cancel()
            await asyncio.wait([place])
            return len(taken)
        taken.append(place.result())


def leave(places: Places, taken: list[Place], *, replied: bool) -> None:
    while taken:
        place = taken.pop()
        if replied:
            places.answers(place)
        places.leave(place)


def test_refusals_of_what_was_sent_together_narrow_once_and_replies_widen() -> None:
    async def main() -> None:
        places, taken = Places(16), list[Place]()
        assert await fill(places, taken) == 16
        for place in taken[4:]:
            assert places.refused(place, 1) is not None
        leave(places, taken, replied=False)
        assert await fill(places, taken) == 8
        places.refused(taken[0], 2)
        leave(places, taken, replied=False)
        assert await fill(places, taken) == 4
        for _ in range(4):
            leave(places, taken, replied=True)
            await fill(places, taken)
        assert len(taken) == 5
        places.refused(taken[0], 1)  # the one that was tried: only that is taken back
        leave(places, taken, replied=False)
        assert await fill(places, taken) == 4

    asyncio.run(main())


def test_a_request_is_given_up_where_the_server_answers_nothing() -> None:
    async def main() -> None:
        places = Places(2)
        one, other = await places.take(), await places.take()
        pauses = [places.refused(one, times) for times in range(1, 12)]
        assert pauses[:8] == [pause for pause in pauses[:8] if pause is not None and pause <= 4]
        assert pauses[9:] == [None, None]
        places.answers(other)
        assert places.refused(one, 12) is not None
        places.leave(other)
        assert places.refused(one, 13) is None

    asyncio.run(main())


def test_who_gives_up_waiting_takes_no_place() -> None:
    async def main() -> None:
        places = Places(1)
        place = await places.take()
        waiting = [asyncio.create_task(places.take()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        places.leave(place)  # the second has it now, and is cancelled before it can know
        waiting[1].cancel()
        assert [type(await each) for each in waiting[2:]] == [Place]
        assert waiting[1].cancelled()

    asyncio.run(main())
