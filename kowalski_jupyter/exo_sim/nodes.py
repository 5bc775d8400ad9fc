"""The nodes' processes, from the coordinator's side."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Final

from kowalski_jupyter.exo_sim.cluster import Member
from kowalski_jupyter.exo_sim.http import Exchange, Headers, Request, bound
from kowalski_jupyter.exo_sim.wire import Link

Handle = Callable[[Request, Exchange, Member], None]


class NodeError(Exception):
    """A node cannot be started."""


class Node:
    """One machine: an address, and a process while it is up.

    `member` is its present life in the cluster, or the last.
    """

    def __init__(self, index: int, address: str, port: int, member: Member, handle: Handle) -> None:
        self.index = index
        self.address = address
        self.port = port
        self.member = member
        self.partitioned = False
        self.process: subprocess.Popen[bytes] | None = None
        self._handle = handle
        self._link: Link | None = None
        self._streams: dict[int, Stream] = {}
        self._ready = asyncio.Event()
        self._flushed = asyncio.Event()

    async def start(self, listening: socket.socket | None = None) -> None:
        """Start the process, and wait until it listens."""
        self._ready.clear()
        ours, theirs = socket.socketpair()
        with theirs, listening or listen_on(self.address, self.port) as given:
            words = [sys.executable, "-m", "kowalski_jupyter.exo_sim.node", str(theirs.fileno()), str(given.fileno())]
            self.process = subprocess.Popen(  # noqa: ASYNC220 (it takes a millisecond)
                words, pass_fds=(theirs.fileno(), given.fileno()), stdin=subprocess.DEVNULL, start_new_session=True
            )
        self._link = await Link.over(ours, self._told, self._lost)
        await asyncio.wait_for(self._ready.wait(), 30)

    @property
    def up(self) -> bool:
        """Tell whether the process is there."""
        return self.process is not None

    def kill(self) -> None:
        """Kill the process as if the plug were pulled."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        if self._link is not None:
            self._link.close()
            self._link = None
        self._streams.clear()
        self.partitioned = False

    def hold(self, *, on: bool) -> None:
        """Let no bytes through, or let them through again."""
        self.partitioned = on
        self.send({"op": "hold", "on": on})

    def refuse(self, *, on: bool) -> None:
        """Refuse connections, or take them again."""
        self.send({"op": "refuse", "on": on})

    def send(self, head: dict[str, Any], body: bytes = b"") -> None:
        """Tell the process something."""
        if self._link is not None:
            self._link.send(head, body)

    async def flushed(self) -> None:
        """Return once the process has sent all that it was told to."""
        self._flushed.clear()
        self.send({"op": "flush"})
        await self._flushed.wait()

    def end_of(self, number: int) -> None:
        """Forget an exchange that is over."""
        self._streams.pop(number, None)

    def _told(self, head: dict[str, Any], body: bytes) -> None:
        match head["op"]:
            case "ready":
                self._ready.set()
            case "flushed":
                self._flushed.set()
            case "request":
                stream = self._streams[head["id"]] = Stream(self, head["id"])
                self._handle(Request(head["method"], head["target"], head["type"], body), stream, self.member)
            case "gone":
                stream_gone = self._streams.pop(head["id"], None)
                if stream_gone is not None and stream_gone.on_gone is not None:
                    stream_gone.on_gone()

    def _lost(self) -> None:
        self._link = None
        self._flushed.set()


_TOGETHER: Final = 0.001
"""Seconds that the pieces of an answer wait for further ones: a message costs more than a piece. Its end does not."""


class Stream:
    """The exchange of a request that came to a node's process."""

    def __init__(self, node: Node, number: int) -> None:
        self._node = node
        self._number = number
        self._head: dict[str, Any] = {}
        self._pieces: list[bytes] = []
        self._due: asyncio.Handle | None = None
        self.on_gone: Callable[[], None] | None = None

    def start(self, status: int, headers: Headers) -> None:
        """See `Exchange`."""
        self._head |= {"status": status, "headers": headers}
        self._soon()

    def data(self, *pieces: bytes) -> None:
        """See `Exchange`."""
        self._pieces += pieces
        self._soon()

    def end(self) -> None:
        """See `Exchange`."""
        self._end(properly=True)

    def abort(self) -> None:
        """See `Exchange`."""
        self._end(properly=False)

    def _end(self, *, properly: bool) -> None:
        self._head["end"] = properly
        if self._due is not None:
            self._due.cancel()
        self._flush()

    def _soon(self) -> None:
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(_TOGETHER, self._flush)

    def _flush(self) -> None:
        head = {"op": "answer", "id": self._number, "sizes": [len(piece) for piece in self._pieces], **self._head}
        self._node.send(head, b"".join(self._pieces))
        if "end" in self._head:
            self._node.end_of(self._number)
        self._head, self._pieces, self._due = {}, [], None


def listen_on(address: str, port: int) -> socket.socket:
    """Return a socket bound to an address of this machine's loopback.

    Raises:
        NodeError: it cannot be had; says why and what to do.
    """
    try:
        return bound(address, port)
    except OSError as error:
        what = f"The simulated node cannot listen on {address}:{port} ({os.strerror(error.errno or 0)})."
        if sys.platform == "darwin" and address != "127.0.0.1":
            raise NodeError(f"{what} Give this machine the address first: sudo ifconfig lo0 alias {address}") from None
        raise NodeError(f"{what} Choose another port with --port, or end the program that has this one.") from None


def listen_on_all(addresses: list[str], port: int) -> list[socket.socket]:
    """Return sockets bound to the same port of all addresses; 0 means any port that is free on all of them."""
    for _ in range(20):
        taken: list[socket.socket] = []
        try:
            for address in addresses:
                taken.append(listen_on(address, taken[0].getsockname()[1] if taken else port))
        except NodeError:
            for each in taken:
                each.close()
            if port or not taken:
                raise
        else:
            return taken
    raise NodeError("No port is free on all addresses of the simulated nodes. Give one with --port.")
