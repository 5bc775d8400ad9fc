"""One node's process: speaks HTTP with clients, and asks the coordinator what to say.

Started by the coordinator with the numbers of two inherited sockets: the link, and the one to listen on.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import socket
import sys
from typing import Any

from kowalski_jupyter.exo_sim.http import Exchange, Request, Server
from kowalski_jupyter.exo_sim.wire import Link


class NodeProcess:
    """Passes requests up and answers down."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.server = Server(self._asked)
        self._numbers = itertools.count(1)
        self._open: dict[int, Exchange] = {}
        self._link: Link | None = None

    async def run(self, link: socket.socket, listening: socket.socket) -> None:
        """Serve until the coordinator is gone."""
        self._link = await Link.over(link, self._told, self.ended.set)
        await self.server.listen(listening)
        self._link.send({"op": "ready"})
        await self.ended.wait()
        self.server.close()

    def _asked(self, request: Request, exchange: Exchange) -> None:
        number = next(self._numbers)
        self._open[number] = exchange
        exchange.on_gone = lambda: self._gone(number)
        head = {"op": "request", "id": number, "method": request.method, "target": request.target}
        self._send(head | {"type": request.content_type}, request.body)

    def _gone(self, number: int) -> None:
        self._open.pop(number, None)
        self._send({"op": "gone", "id": number})

    def _send(self, head: dict[str, Any], body: bytes = b"") -> None:
        if self._link is not None:
            self._link.send(head, body)

    def _told(self, head: dict[str, Any], body: bytes) -> None:
        match head["op"]:
            case "flush":
                self._send({"op": "flushed"})
            case "hold":
                self.server.hold(on=head["on"])
            case "refuse" if head["on"]:
                self.server.refuse()
            case "refuse":
                asyncio.get_running_loop().create_task(self.server.relisten())
            case _:
                self._answer(head, body)

    def _answer(self, head: dict[str, Any], body: bytes) -> None:
        exchange = self._open.get(head["id"])
        if exchange is None:
            return
        if "status" in head:
            exchange.start(head["status"], head["headers"])
        at = 0
        pieces = []
        for size in head.get("sizes", ()):
            pieces.append(body[at : at + size])
            at += size
        if pieces:
            exchange.data(*pieces)
        if "end" in head:
            del self._open[head["id"]]
            if head["end"]:
                exchange.end()
            else:
                exchange.abort()


def main() -> None:
    """Run one node; see the module."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the coordinator, which then closes the link
    link, listening = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    asyncio.run(NodeProcess().run(link, listening))


if __name__ == "__main__":
    main()
