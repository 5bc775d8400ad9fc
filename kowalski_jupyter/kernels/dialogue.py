"""What is asked of a kernel, and the replies, which a dead one never gives."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping
from typing import Any

import zmq
from jupyter_client.connect import KernelConnectionInfo

from .client import KernelClient, OnMessage
from .line import Line

Content = Mapping[str, Any]

_HOW = {
    "silent": False,
    "store_history": False,
    "user_expressions": {},
    "allow_stdin": False,
    "stop_on_error": True,
}
"""What Jupyter's protocol wants with the code of a cell."""


class Dialogue:
    """Asks one kernel. Every message that it sends is handed to `on_message`, replies too.

    Args:
        context: for ZMQ.
        info: where the kernel's channels are.
        on_message: called with each of its messages.
        line: on which it takes its requests, if not on the shell channel.
        on_nonsense: called when something else than replies comes there.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        info: KernelConnectionInfo,
        on_message: OnMessage,
        line: socket.socket | None,
        on_nonsense: Callable[[], None],
    ) -> None:
        self._hand_on = on_message
        self._pending: dict[str, asyncio.Future[Content]] = {}
        self._interrupt: asyncio.Future[Content] | None = None
        self._listening = asyncio.Event()
        self._over = False
        self._socket = line
        self._line = Line(self._on_message, on_nonsense) if line else None
        channels = ("control", "iopub") if line else ("shell", "control", "iopub")
        self._client = KernelClient(context, info, channels, self._on_message)

    async def greet(self) -> None:
        """Ask until an answer comes on both ways: a subscription takes effect some time after it is made."""
        if (line := self._line) is not None:
            await asyncio.get_running_loop().create_unix_connection(lambda: line, sock=self._socket)
            if self._over:  # closed meanwhile
                line.close()
        while not self._listening.is_set() and not self._over:
            await self.ask("kernel_info_request", {})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._listening.wait(), 0.001)

    async def ask(self, message_type: str, content: Content) -> Content:
        """Send a request and return its reply's content; empty if the kernel dies."""
        return {} if self._over else await self._reply_to(self.send(message_type, content))

    def send(self, message_type: str, content: Content) -> str:
        """Send a request whose reply nobody waits for here; return its id."""
        if self._line is not None:
            return self._line.send(message_type, content)
        return self._client.send("shell", message_type, content)

    def execute(self, code: str) -> str:
        """Send a cell; return its request's id."""
        return self.send("execute_request", {"code": code, **_HOW})

    def interrupt(self) -> None:
        """Ask the kernel to interrupt what it does."""
        self._interrupt = self._reply_to(self._client.send("control", "interrupt_request", {}))

    async def settle(self, seconds: float) -> None:
        """Wait, but no longer, for an interrupt's reply: one that comes too late for its cell must not hit the next."""
        if self._interrupt is not None:
            await asyncio.wait([self._interrupt], timeout=seconds)
            self._interrupt = None

    def end(self) -> None:
        """The kernel is dead: wait for nothing more."""
        self._over = True
        for future in [*self._pending.values()]:
            if not future.done():
                future.set_result({})

    def close(self) -> None:
        """Close the sockets."""
        self._over = True
        if self._line is not None:
            self._line.close()
        self._client.close()

    def _reply_to(self, request: str) -> asyncio.Future[Content]:
        future: asyncio.Future[Content] = asyncio.get_running_loop().create_future()
        self._pending[request] = future
        future.add_done_callback(lambda _done: self._pending.pop(request, None))
        return future

    def _on_message(self, channel: str, message: dict[str, Any]) -> None:
        if channel == "iopub":
            self._listening.set()
        elif (future := self._pending.get(message["parent_header"].get("msg_id"))) and not future.done():
            future.set_result(message["content"])
        self._hand_on(channel, message)
