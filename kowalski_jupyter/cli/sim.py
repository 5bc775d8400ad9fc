"""`jupyter kowalski sim`: a simulated exo cluster in the terminal, to try things without one and to break it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import threading
from collections.abc import Callable

from kowalski_jupyter.exo_sim.coordinator import Coordinator
from kowalski_jupyter.exo_sim.faults import NAMES, FaultError, usage
from kowalski_jupyter.exo_sim.nodes import NodeError
from kowalski_jupyter.exo_sim.plan import Plan

HELP = """\
place MODEL [nodes=N] [on=[0,1]]   load a model once more
tell                               how things are
requests                           what came, and what became of it
quit                               end it all (so does Ctrl+C)
and what can go wrong (node is a number from 0, seconds are exo's):"""


def run(plan: Plan, say: Callable[[str], None]) -> int:
    """Run a simulation until Ctrl+C or `quit`; return the exit code."""
    try:
        return asyncio.run(_run(plan, say))
    except KeyboardInterrupt:
        return 0


async def _run(plan: Plan, say: Callable[[str], None]) -> int:
    coordinator = Coordinator(plan)
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, over.set)
    try:
        await coordinator.start()
        for model in plan.models:
            await coordinator.place(model.id, wait=False)
        _introduce(coordinator, say)
        lines: asyncio.Queue[str] = asyncio.Queue()
        threading.Thread(target=_read, args=(loop, lines), daemon=True).start()
        listening = loop.create_task(_listen(coordinator, lines, over, say))
        await over.wait()
        listening.cancel()
    except (NodeError, FaultError) as error:
        say(str(error))
        return 1
    finally:
        await coordinator.stop()
    return 0


def _introduce(coordinator: Coordinator, say: Callable[[str], None]) -> None:
    told = coordinator.tell()
    for index, url in enumerate(told["urls"]):
        say(f"node {index}   {url}{'   (the master)' if index == told['master'] else ''}")
    for model in coordinator.cluster.instances.values():
        say(f"model    {model.model.id}")
    say(f"control  {told['control']}   (POST inject, place; GET requests)")
    say(f"\nUse it: KOWALSKI_URL={told['urls'][0]} jupyter lab")
    say("Break it: type a line such as kill_node node=1, or help. Ctrl+C ends it.")


def _read(loop: asyncio.AbstractEventLoop, lines: asyncio.Queue[str]) -> None:
    """Pass the terminal's lines on; a thread of its own, since not every standard input can be waited for."""
    with contextlib.suppress(RuntimeError):  # the loop has ended
        for line in sys.stdin:
            loop.call_soon_threadsafe(lines.put_nowait, line.strip())


async def _listen(
    coordinator: Coordinator, lines: asyncio.Queue[str], over: asyncio.Event, say: Callable[[str], None]
) -> None:
    while True:
        line = await lines.get()
        if line in ("quit", "exit"):
            over.set()
        elif line == "help":
            say("\n".join([HELP, *(f"  {usage(name)}" for name in NAMES)]))
        elif line:
            try:
                done = await obey(coordinator, line)
            except (FaultError, NodeError) as error:
                say(str(error))
            else:
                say("done" if done is None else done if isinstance(done, str) else json.dumps(done, indent=1))


async def obey(coordinator: Coordinator, line: str) -> object:
    """Carry out one line: an order or a fault, then words with `=`; return what it says.

    Raises:
        FaultError: in one line, what is wrong with it.
    """
    order, *words = line.split()
    settings: dict[str, object] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals and order == "place":
            name, value = "model", name
        elif not equals:
            raise FaultError(f"{word!r} has no value: write {order} name=value, or help.")
        settings[name] = _value(value)
    if order in ("tell", "requests", "place"):
        return await coordinator.do(order, settings)
    return await coordinator.do("inject", settings | {"fault": order})


def _value(text: str) -> object:
    try:
        return json.loads({"True": "true", "False": "false", "None": "null"}.get(text, text))
    except ValueError:
        return text
