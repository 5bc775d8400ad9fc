"""A client of simulated nodes that sees every byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from kowalski_jupyter.exo_sim import Model, Simulation

MODEL = "mlx-community/Test-1B-4bit"
SMOL = Model(
    "mlx-community/SmolLM2-135M-Instruct",
    size=538060032,
    layers=30,
    hidden=576,
    kv_heads=3,
    context=8192,
    quantization="",
    base="SmolLM2 135M",
)


def request(method: str, path: str, body: object = None, kind: str = "application/json") -> bytes:
    """The bytes of one request on a connection of its own; a body that is not bytes goes as JSON."""
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: exo\r\nConnection: close\r\n"
    if body is not None:
        head += f"Content-Type: {kind}\r\nContent-Length: {len(content)}\r\n"
    return head.encode() + b"\r\n" + content


@contextlib.asynccontextmanager
async def connection(url: str, sent: bytes) -> AsyncIterator[asyncio.StreamReader]:
    """Send bytes, and read what comes."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        writer.write(sent)
        yield reader
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def exchange(url: str, method: str, path: str, body: object = None, kind: str = "application/json") -> bytes:
    """Send one request and return all bytes of the answer."""
    async with connection(url, request(method, path, body, kind)) as reader:
        return await reader.read()


async def get(url: str, path: str) -> Any:
    """The JSON at a path."""
    return json.loads(body_of(await exchange(url, "GET", path)))


def chat(text: str = "Hello there.", *, stream: bool = True, model: str = MODEL, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream, **more}


async def ask(url: str, body: dict[str, Any]) -> bytes:
    """The whole answer to a chat completion."""
    return await exchange(url, "POST", "/v1/chat/completions", body)


def asking(url: str, body: dict[str, Any]) -> contextlib.AbstractAsyncContextManager[asyncio.StreamReader]:
    """The connection of a chat completion."""
    return connection(url, request("POST", "/v1/chat/completions", body))


def body_of(answer: bytes) -> bytes:
    """The body of an answer, its chunks joined."""
    head, _, rest = answer.partition(b"\r\n\r\n")
    if b"chunked" not in head:
        return rest
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        assert rest[length : length + 2] == b"\r\n", "a chunk is not as long as it says"
        body, rest = body + rest[:length], rest[length + 2 :]
        if length == 0:
            assert not rest, "bytes after the last chunk"
            return body
    raise AssertionError("the last chunk is missing")


def said(answer: bytes) -> str:
    """The text of an answer, streamed or not."""
    body = body_of(answer)
    if not body.startswith(b":"):
        return str(json.loads(body)["choices"][0]["message"]["content"])
    chunks = [json.loads(line[6:]) for line in body.split(b"\n\n") if line.startswith(b"data: {")]
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if "choices" in chunk)


def finished(answer: bytes) -> bool:
    """Whether an answer has what makes it a whole one."""
    return b'"finish_reason":' in answer


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    """What a condition gives, once it is true."""
    async with asyncio.timeout(60):
        while not (value := await condition()):  # noqa: ASYNC110 (it is another process that changes)
            await asyncio.sleep(0.005)
        return value


async def until_state(sim: Simulation, path: str, condition: Callable[[Any], Any], node: int = 0) -> Any:
    """What is at a path of a node's state, once it meets a condition."""

    async def look() -> Any:
        found = await get(sim.urls[node], f"/state/{path}")
        return [found] if condition(found) else None

    return (await until(look))[0]
