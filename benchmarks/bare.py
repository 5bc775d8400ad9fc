"""The least that sub-calls can take: a bare asyncio loop on open sockets, without an HTTP library or a kernel."""

from __future__ import annotations

import asyncio
import json
import time


def seconds_of_bare_calls(port: int, calls: int, *, width: int) -> float:
    """Make streamed sub-calls of the scripted server on this port, `width` at a time, and return how long it took."""
    return asyncio.run(_measure(port, calls, width))


async def _measure(port: int, calls: int, width: int) -> float:
    numbers = iter(range(calls))
    started = time.monotonic()
    await asyncio.gather(*(_call_in_sequence(port, numbers) for _ in range(width)))
    return time.monotonic() - started


async def _call_in_sequence(port: int, numbers: object) -> None:
    """Take numbers until there is none left; one connection, one call at a time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in numbers:  # type: ignore[attr-defined]
        message = {"role": "user", "content": f"SUBCALL {number}"}
        body = json.dumps({"model": "scripted", "stream": True, "messages": [message]}).encode()
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        answer = await reader.readuntil(b"\r\n0\r\n\r\n")
        assert b"ok" in answer
    writer.close()
    await writer.wait_closed()
