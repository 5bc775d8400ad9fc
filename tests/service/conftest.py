from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from kowalski_jupyter.kernels.pack import pack
from kowalski_jupyter.rlm.events import Event
from kowalski_jupyter.rlm.trace import Trace
from kowalski_jupyter.service.config import Kowalski
from kowalski_jupyter.service.host import ThreadHost
from kowalski_jupyter.service.request import RunRequest
from kowalski_jupyter.service.socket.client import ServiceClient
from tests.support.leaks import nothing_more
from tests.support.scripted_server import ScriptedServer
from tests.support.zygotes import one_zygote

__all__ = ["one_zygote"]


@dataclass
class Outcome:
    """How a run went, seen from the client's side."""

    run: str
    events: list[Event]
    document: dict[str, Any]
    value: Any = None


@dataclass
class Desk:
    """A service in a thread, a client of it, and the scripted server that its runs ask."""

    client: ServiceClient
    host: ThreadHost
    root: Path

    def request(self, question: str, data: Mapping[str, Any], **options: Any) -> RunRequest:
        folder = self.root / f"pack-{time.monotonic_ns()}"
        folder.mkdir(parents=True)
        detach = options.pop("detach", False)
        return RunRequest(question, tuple(pack(name, value, folder) for name, value in data.items()), options, detach)

    def ask(self, question: str, data: Mapping[str, Any], **options: Any) -> Outcome:
        events: list[Event] = []
        with self.client.run(self.request(question, data, **options)) as batches:
            for batch in batches:
                events += batch
        trace = Trace.of(events)
        value = self.client.answer(trace.run) if trace.state == "done" else None
        return Outcome(trace.run, events, trace.document(), value)


@pytest.fixture
def open_desk(tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    """A function that opens a service on a scripted server; all is closed, and nothing may be left."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    desks: list[Desk] = []

    def open_(server: ScriptedServer, **settings: Any) -> Desk:
        root = tmp_path / "runs"
        host = ThreadHost(Kowalski(url=server.url, data_root=str(root), **settings))
        desks.append(Desk(ServiceClient(host.socket, host.token), host, root))
        return desks[-1]

    yield open_
    for desk in desks:
        desk.client.close()
        desk.host.close()
        assert not Path(desk.host.socket).parent.exists()
        assert not [path for path in desk.root.rglob("*") if path.is_file()]
    deadline = time.monotonic() + 60
    while (left := new_children(before)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


@pytest.fixture
def nothing_left() -> Iterator[None]:
    with nothing_more():
        yield


def new_children(before: set[int]) -> dict[int, str]:
    """The command lines of this process's descendants that were not there before."""
    children = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    left = {}
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            left[child.pid] = f"{child.status()} {child.cmdline()}"
    return left


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition did not come about"
        time.sleep(0.01)
    return value
