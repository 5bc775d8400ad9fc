"""What earlier cells did stays to be read from code."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path

from kowalski_jupyter.kernels.prelude.history import MOST_IN_ALL, MOST_PER_CELL, SHORT, History

from .support import opened


def test_every_finished_cell_is_kept(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            assert await session.value("len(history)") == "0"
            await session("print('one')\n2")
            result = await session("1 / 0")
            assert result.names == ()
            kept = "repr([(entry['cell'], entry['code'], entry['output'][:6]) for entry in history])"
            assert ast.literal_eval(await session.value(kept)) == (
                "[(1, 'len(history)', '0'), (2, \"print('one')\\n2\", 'one\\n2'), (3, '1 / 0', 'Traceb')]"
            )
            assert await session.value("'ZeroDivisionError' in history[2]['output']") == "True"

    asyncio.run(scenario())


def test_the_whole_output_is_kept_up_to_a_bound(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            await session("print('start', 'x' * 150_000, 'end')")
            assert await session.value("history[0]['output'] == 'start ' + 'x' * 150_000 + ' end\\n'") == "True"
            await session("print('start', 'x' * 3_000_000, 'end')")
            value = await session.value("out = history[2]['output']; out[:6], out[-5:], len(out)")
            assert value.startswith("('start ', ' end\\n', 200")

    asyncio.run(scenario())


def test_code_may_do_with_it_what_it_likes(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            assert (await session("history = 5")).names == ("history",)
            assert await session.value("history") == "5"
            await session("del history")
            assert (
                await session.value("[entry['code'] for entry in history]")
                == "['history = 5', 'history', 'del history']"
            )
            await session("history[0]['output'] = None; history[1].clear(); history.append(7); history[:] = []")
            assert await session.value("len(history)") == "1"
        async with opened(root / "2", {"history": "the user's own"}) as session:
            assert await session.value("history") == '"the user\'s own"'

    asyncio.run(scenario())


def test_the_oldest_outputs_are_cut_first() -> None:
    history = History()
    for number in range(1, 41):
        history.write(f"start {number} " + "x" * (MOST_PER_CELL + 50_000) + f" end {number}", 0)
        history.end_cell(number, "code")
    sizes = [len(entry["output"]) for entry in history.cells]
    assert sum(sizes) <= MOST_IN_ALL
    assert sizes[0] < 2 * SHORT
    assert sizes[-1] > MOST_PER_CELL
    assert sizes == sorted(sizes)
    for entry in history.cells:
        assert entry["output"].startswith(f"start {entry['cell']} ")
        assert entry["output"].endswith(f" end {entry['cell']}")
