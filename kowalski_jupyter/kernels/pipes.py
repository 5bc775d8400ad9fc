"""Reading a pipe on the event loop."""

from __future__ import annotations

import asyncio
import os


async def read_to_end(descriptor: int) -> bytes:
    """Read a pipe until the other end closes it, and close this one."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    pieces: list[bytes] = []

    def read() -> None:
        piece = os.read(descriptor, 1 << 16)
        pieces.append(piece)
        if not piece and not done.done():
            done.set_result(None)

    loop.add_reader(descriptor, read)
    try:
        await done
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return b"".join(pieces)
