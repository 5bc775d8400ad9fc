"""Reads one streamed reply to its end, under three clocks."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import httpx

from kowalski_jupyter.models.base import Delta, ModelCutOffError, ModelError, ModelStalledError
from kowalski_jupyter.models.response import Response
from kowalski_jupyter.models.sse import EventDecoder, parse_chunk

_READING: Final = b": prefill_progress"
"""What exo begins a comment with that tells how much of the prompt it has read."""

_END_GRACE: Final = 1.0
"""Seconds that a stream may stay open after its ``finish_reason``, for the usage and the ``[DONE]``."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """How long to wait for a server, in seconds.

    `connect`: for the connection. `silence`: for any byte at all, from a server that promises to send
    keep-alives (exo: every 10 s). `first`: for the first progress, which on a slow machine with a long
    prompt, or behind a queue, takes many minutes; a run has a limit of its own. `between`: from one token
    to the next. Keep-alives are not progress.
    """

    connect: float = 3.0
    silence: float = math.inf
    first: float = 900.0
    between: float = 60.0


async def read_reply(response: Response, clocks: Clocks, where: str) -> AsyncGenerator[Delta, None]:
    """Yield the deltas of a reply; the last one, and only that, has a `finish_reason`.

    The first is empty, and says that the server has taken the request.

    Args:
        response: with status 200 and its body not yet read.
        clocks: how long to wait.
        where: the server in words, for errors.

    Raises:
        ModelError: the reply failed, in one of the ways that `ChatModel.stream` names.
    """
    now = asyncio.get_running_loop().time
    decoder = EventDecoder(whole=b"json" in response.fields.get(b"content-type", b""))
    reply = _Reply()
    yield Delta()
    progress, limit = now(), clocks.first
    piece: bytes | None = b""
    while piece is not None:
        heard = now()
        try:
            piece = await response.piece(min(progress + limit, heard + clocks.silence))
        except (TimeoutError, httpx.HTTPError) as error:
            if reply.last:
                break
            silent = now() - heard >= clocks.silence
            raise _broken_off(error, now() - progress, reply, where, silent=silent) from error
        got_on = told = False
        for event in decoder.finish() if piece is None else decoder.feed(piece):
            delta = reply.take(event)
            got_on = got_on or _is_progress(event)
            if delta:
                told = True
                yield delta
        if got_on:
            if not told and not reply.last:
                yield Delta()
            # Read the clock only now: whoever takes the deltas may have been away for long.
            progress, limit = now(), _END_GRACE if reply.last else clocks.between
    if reply.last is None:
        raise _ended(reply, where)
    yield reply.last


class _Reply:
    """What has come of a reply so far."""

    def __init__(self) -> None:
        self.begun = False
        self.last: Delta | None = None

    def take(self, event: bytes) -> Delta | None:
        """Read an event; return what is new for the reader of the reply, if anything is."""
        if event.startswith(b":") or event == b"[DONE]":
            return None
        if self.last:
            # The reply is whole: only the usage may be missing, and nothing can go wrong any more.
            if not self.last.usage:
                with suppress(ModelError):
                    self.last = replace(self.last, usage=parse_chunk(event).usage)
            return None
        delta = parse_chunk(event)
        if delta.finish_reason:
            self.last = delta
            return None
        if not delta.text and not delta.reasoning:
            return None
        self.begun = True
        return delta


def _is_progress(event: bytes) -> bool:
    return not event.startswith(b":") or event.startswith(_READING)


def _ended(reply: _Reply, where: str) -> ModelError:
    what = "only a part of the reply" if reply.begun else "an empty reply"
    return ModelCutOffError(
        f"{where} sent {what} and ended it without an error. Most often the model was unloaded or its "
        "process died: see that it is loaded, then run again."
    )


def _broken_off(error: Exception, seconds: float, reply: _Reply, where: str, *, silent: bool) -> ModelError:
    point = "in the middle of a reply" if reply.begun else "before a reply came"
    if isinstance(error, TimeoutError):
        what = f"{'nothing' if silent else 'no token'} for {seconds:.0f} s"
        return ModelStalledError(
            f"{where} has sent {what}, {point}. Look at the server: it may have lost the model. If it is only "
            "slow, ask for less at a time or use a smaller model."
        )
    return ModelCutOffError(
        f"The connection to {where} broke {point} ({type(error).__name__}). See that the server is still "
        "running, then run again."
    )
