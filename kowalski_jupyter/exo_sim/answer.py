"""What a client is sent for a chat completion: exo's stream, or its one JSON at the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from kowalski_jupyter.exo_sim.http import Exchange, start_chunked
from kowalski_jupyter.exo_sim.records import Record
from kowalski_jupyter.exo_sim.shapes import encode


class Answer:
    """One answer. `keep_alive` is in real seconds; a streamed one says something at least that often.

    `over` is called once, when nothing more will be sent.

    After `zombify` no more of the reply comes through, as when exo's node has lost its queues: keep-alives for ever.
    """

    def __init__(self, exchange: Exchange, record: Record, keep_alive: float, over: Callable[[], object]) -> None:
        self._told_over = over
        self._exchange = exchange
        self._record = record
        self._keep_alive = keep_alive
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self.open = True
        if record.stream:
            headers = (("cache-control", "no-cache"), ("x-accel-buffering", "no"))
            start_chunked(exchange, *headers, ("content-type", "text/event-stream; charset=utf-8"))
            self._say_alive()
        else:
            start_chunked(exchange, ("content-type", "application/json"))

    def prefill(self, done: int, total: int) -> None:
        """Tell how far reading the prompt is."""
        if self._record.stream:
            chunk = {"model": self._record.model, "processed_tokens": done, "total_tokens": total}
            self._put(b": prefill_progress " + encode({"PrefillProgressChunk": chunk}))

    def tokens(self, *pieces: str, reasoning: bool = False) -> None:
        """Send pieces of the reply."""
        if not self._live():
            return
        (self._reasoning if reasoning else self._text).extend(pieces)
        self._record.tokens += len(pieces)
        if not reasoning:
            self._record.text += "".join(pieces)
        if self._record.stream:
            kind = "reasoning_content" if reasoning else "content"
            self._put(*(self._chunk({"delta": {"role": "assistant", kind: piece}}) for piece in pieces))

    def finish(self, last: str, reason: str, usage: dict[str, Any], stats: dict[str, Any]) -> None:
        """End the reply as a good one ends; `last` is the text that comes with the reason."""
        if not self._live():
            return
        self._text.append(last)
        self._record.text += last
        if self._record.stream:
            choice = {"delta": {"role": "assistant", "content": last}, "finish_reason": reason}
            self._put(self._chunk(choice, usage), b": generation_stats " + encode(stats), b"data: [DONE]")
        else:
            self._exchange.data(encode(self._whole({"finish_reason": reason}) | {"usage": usage}))
        self._end("finished")

    def error(self, message: str) -> None:
        """End as exo does when the runner failed: an error in the stream, or nothing at all."""
        if not self._live():
            return
        if self._record.stream:
            body = {"error": {"message": message, "type": "InternalServerError", "code": 500}}
            self._put(b"data: " + encode(body), b"data: [DONE]")
        self._end("error")

    def cut(self, outcome: str | None = None) -> None:
        """End without a finish reason: what there is of a reply, and no sign that it is not all."""
        if not self._live():
            return
        if not self._record.stream and self._text:
            self._exchange.data(encode(self._whole({})))
            self._end(outcome or "partial")
        elif self._record.stream:
            self._end(outcome or "cut")
        else:
            self._end(outcome or "empty")

    def empty(self, outcome: str = "empty") -> None:
        """End without a byte of a reply."""
        if self._live():
            self._end(outcome)

    def zombify(self) -> None:
        """Let nothing of the reply through any more, and never end."""
        self._record.zombie = self._record.zombie or time.time()

    def gone(self, outcome: str) -> None:
        """Note that nobody reads any more."""
        if self.open:
            self._over(outcome)

    def _live(self) -> bool:
        return self.open and self._record.zombie is None

    def _whole(self, end: dict[str, Any]) -> dict[str, Any]:
        message = {"role": "assistant", "content": "".join(self._text)}
        if self._reasoning:
            message["reasoning_content"] = "".join(self._reasoning)
        return self._head() | {"choices": [{"index": 0, "message": message, **end}]}

    def _chunk(self, choice: dict[str, Any], usage: dict[str, Any] | None = None) -> bytes:
        body = self._head() | {"choices": [{"index": 0, **choice}]}
        return b"data: " + encode(body | ({"usage": usage} if usage else {}))

    def _head(self) -> dict[str, Any]:
        created = int(time.time())
        return {"id": self._record.id, "object": "chat.completion", "created": created, "model": self._record.model}

    def _put(self, *lines: bytes) -> None:
        if self._live():
            self._said = time.monotonic()
            self._exchange.data(*(line + b"\n\n" for line in lines))

    def _say_alive(self) -> None:
        self._said = time.monotonic()
        self._exchange.data(b": keep-alive\n\n")
        self._timer = asyncio.get_running_loop().call_later(self._keep_alive, self._look)

    def _look(self) -> None:
        quiet = time.monotonic() - self._said
        if quiet >= self._keep_alive * 0.99:
            self._say_alive()
        else:
            self._timer = asyncio.get_running_loop().call_later(self._keep_alive - quiet, self._look)

    def _end(self, outcome: str) -> None:
        self._exchange.end()
        self._over(outcome)

    def _over(self, outcome: str) -> None:
        self.open = False
        self._record.outcome = outcome
        self._record.ended = time.time()
        if self._timer is not None:
            self._timer.cancel()
        self._told_over()
