"""How the processes of a simulation talk: a JSON object and some bytes at a time, over one socket.

A process whose link is closed ends itself, so that whatever dies takes those below it along.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable
from typing import Any, Final, cast

_SIZES: Final = struct.Struct(">II")


class Link(asyncio.Protocol):
    """One end of the socket. `receive` gets each message, `lost` is called once when the other end is gone."""

    def __init__(self, receive: Callable[[dict[str, Any], bytes], None], lost: Callable[[], None]) -> None:
        self._receive = receive
        self._lost = lost
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._outgoing: list[bytes] = []

    @classmethod
    async def over(
        cls, end: socket.socket, receive: Callable[[dict[str, Any], bytes], None], lost: Callable[[], None]
    ) -> Link:
        """Return a link over one end of a connected pair of sockets."""
        _, link = await asyncio.get_running_loop().create_unix_connection(lambda: cls(receive, lost), sock=end)
        return link

    def send(self, head: dict[str, Any], body: bytes = b"") -> None:
        """Send one message; those of one turn of the loop go out together. Nothing happens if the other end is gone."""
        if not self._outgoing:
            asyncio.get_running_loop().call_soon(self._flush)
        text = json.dumps(head).encode()
        self._outgoing += (_SIZES.pack(len(text), len(body)), text, body)

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        if self._transport is not None:
            self._transport.write(b"".join(outgoing))

    def close(self) -> None:
        """Close the socket once what was sent is out."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Cut what came into messages."""
        self._buffer += data
        at = 0
        while len(self._buffer) - at >= _SIZES.size:
            head, body = _SIZES.unpack_from(self._buffer, at)
            begin, middle, end = at + _SIZES.size, at + _SIZES.size + head, at + _SIZES.size + head + body
            if len(self._buffer) < end:
                break
            message = json.loads(self._buffer[begin:middle])
            content = bytes(self._buffer[middle:end])
            at = end
            self._receive(message, content)
        del self._buffer[:at]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (why does not matter)
        """Tell that nothing comes any more."""
        self._transport = None
        self._lost()
