"""How long a fold of a long chat takes besides the model's own time."""

from __future__ import annotations

import asyncio
import functools
import time

from benchmarks.scenarios import Figure
from kowalski_jupyter.models.base import Message
from kowalski_jupyter.models.scripted import ScriptedModel
from kowalski_jupyter.rlm.budget import Budget
from kowalski_jupyter.rlm.chat.folding import make_room, note_of
from kowalski_jupyter.rlm.chat.history import History
from kowalski_jupyter.rlm.endpoints import Endpoint
from kowalski_jupyter.rlm.settings import RunSettings

_TOKENS = 100_000
_TURNS = (50, 500)
_FILLER = " and so on"

FOLDING = tuple(
    Figure(f"fold of a chat of 100,000 tokens in {turns} turns, with a model that answers at once", "ms", target=100)
    for turns in _TURNS
)


def seconds_to_fold() -> list[float]:
    """Fold a chat of each number of turns, and return how long it took."""
    return [asyncio.run(_fold(turns)) for turns in _TURNS]


async def _fold(turns: int) -> float:
    model = ScriptedModel(["I looked at all parts."], context_tokens=_TOKENS - 8_000)
    endpoint = Endpoint(model, Budget(RunSettings(), "", _never), lambda _: None)
    history = History([Message("system", "rules " * 500)])
    each = 4 * _TOKENS // turns
    for turn in range(turns):
        reply = f"I look at part {turn}.\n```repl\nvalue_{turn} = look(parts[{turn}])\nvalue_{turn}\n```"
        output = f"{turn * 37} in 'Bern' " * (1 if turn % 2 else each // 16)
        note = functools.partial(note_of, turn, reply, reply[30:-4], output)
        history.add(reply, f"Output:\n{output}{' and so on' * (each // 20)}", note)
    before = len(history.text())
    started = time.perf_counter()
    await make_room(
        history,
        endpoint,
        turn=turns,
        names=[f"value_{turn}" for turn in range(turns)],
        reply_tokens=1024,
        seed=1,
        emit=lambda _: None,
    )
    seconds = time.perf_counter() - started
    assert len(history.text()) < before / 2
    return seconds


def _never() -> None:
    raise AssertionError("no limit is set")
