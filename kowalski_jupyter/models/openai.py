"""A chat model behind any OpenAI-compatible URL.

The rules for a single request come from watching a real exo fail in every way it knows; a server that
fails less is no trouble. A reply has succeeded if a ``finish_reason`` came, and in no other case: exo
ends the stream of a killed runner with ``[DONE]``, and that of a deleted instance with nothing at all.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final

import httpx

from kowalski_jupyter.models.base import (
    Delta,
    Message,
    ModelError,
    ModelRejectedError,
    ModelStalledError,
    ModelTooLongError,
    ModelUnreachableError,
    Sampling,
)
from kowalski_jupyter.models.client import listed_models, near_transport, open_client
from kowalski_jupyter.models.connection import head_of, server_of
from kowalski_jupyter.models.exo import exo_instances
from kowalski_jupyter.models.found import UNKNOWN_WIDTH
from kowalski_jupyter.models.refusal import BUSY, refusal, retry_after
from kowalski_jupyter.models.reply import Clocks, read_reply
from kowalski_jupyter.models.response import FarResponse, Response, read_all
from kowalski_jupyter.models.transport import decoded
from kowalski_jupyter.models.urls import ServerKind, api_base, where_is

EXO_CLOCKS: Final = Clocks(silence=25.0)
"""exo sends a keep-alive every 10 s, whatever it does; without one the connection is dead."""

_BYTES_PER_TOKEN: Final = 4
_PAUSES: Final = (0.1, 0.5)
AT_ONCE: Final = (0.0,)
"""Pauses for who has other servers to ask: one try more, since an idle connection may have been closed meanwhile."""

A_MOMENT: Final = 1.0
"""A `busy_pause`."""

_LONGEST_WAIT: Final = 20.0
_SHORT_CHAT: Final = 2
"""Messages of a chat that does not grow, as that of a sub-call."""

_encode: Final = json.JSONEncoder(ensure_ascii=False).encode


class OpenAIModel:
    """A `ChatModel` over HTTP. One connection pool, made once; always streams.

    Args:
        url: the server's base URL, with or without ``/v1``.
        name: the model's id, as the server knows it.
        api_key: sent as a bearer token; never shown.
        kind: what answers there, for what is special about it.
        where: words for the user; made from `url` if not given.
        context_tokens: the served window, if known.
        width: requests at a time.
        clocks: how long to wait; by default what suits `kind`.

    Attributes:
        pauses: seconds before each further try, where nothing has answered.
        busy_pause: seconds before one further try, where the server is busy and does not say for how long; None to
            leave that to whoever asks.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        api_key: str | None = None,
        kind: ServerKind = "openai",
        where: str | None = None,
        context_tokens: int | None = None,
        width: int = UNKNOWN_WIDTH,
        clocks: Clocks | None = None,
    ) -> None:
        self.name = name
        self.where = where or where_is(url, kind)
        self.context_tokens = context_tokens
        self.width = width
        self.kind = kind
        self.pauses: Sequence[float] = _PAUSES
        self.busy_pause: float | None = None
        self._url = url
        self._endpoint = httpx.URL(f"{api_base(url)}/chat/completions")
        self._server = server_of(self._endpoint)
        self._api_key = api_key
        self._clocks = clocks or (EXO_CLOCKS if kind == "exo" else Clocks())
        self._near = near_transport(url, connect=self._clocks.connect)
        self._client = open_client(url, api_key, connect=self._clocks.connect, near=self._near)
        self._fields = [*self._client.headers.raw, (b"Content-Type", b"application/json")]
        self._head: bytes | None = None
        self._chat: dict[Message, bytes] = {}

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def stream(self, messages: Sequence[Message], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """See `ChatModel.stream`."""
        self._check(messages, sampling)
        async with (
            self._response(self._body(messages, sampling)) as response,
            aclosing(read_reply(response, self._clocks, self.where)) as deltas,
        ):
            async for delta in deltas:
                yield delta

    def _check(self, messages: Sequence[Message], sampling: Sampling) -> None:
        """Refuse what the server would not survive, or would not tell.

        exo's runner process dies of a chat without text. exo takes a prompt longer than the window and
        blocks for minutes; Ollama cuts it in silence. Other servers count exactly, and say so: they decide.
        """
        if not any(message.content.strip() for message in messages):
            raise ModelRejectedError("There is nothing to ask: every message is empty.")
        if self.context_tokens is None or self.kind not in {"exo", "ollama"}:
            return
        prompt = sum(len(message.content.encode("utf-8", "replace")) for message in messages) // _BYTES_PER_TOKEN
        over = prompt + min(sampling.max_tokens, self.context_tokens // 4) - self.context_tokens
        if over > 0:
            what = (
                f"The prompt is too long for {self.name}: about {prompt:,} tokens, in a window of "
                f"{self.context_tokens:,} that must hold the reply too"
            )
            advice = f"Shorten it by about {over * _BYTES_PER_TOKEN:,} characters, or ask about parts of it."
            raise ModelTooLongError(f"{what}. {advice}", what, self.context_tokens)

    def _body(self, messages: Sequence[Message], sampling: Sampling) -> bytes:
        request: dict[str, Any] = {
            "model": self.name,
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "seed": sampling.seed,
        }
        if sampling.stop:
            request["stop"] = list(sampling.stop)
        chat = b", ".join(self._chat_of(messages))
        return b'{"messages": [%b], %b' % (chat, _encoded(request).removeprefix(b"{"))

    def _chat_of(self, messages: Sequence[Message]) -> list[bytes]:
        """Return each message as JSON. A chat grows at its end: what it began with is not written anew each time."""
        known = self._chat
        chat = {each: known.get(each) or self._as_json(each) for each in messages}
        if len(messages) > _SHORT_CHAT:
            self._chat = chat
        return [chat[each] for each in messages]

    def _as_json(self, message: Message) -> bytes:
        return _encoded({"role": message.role, "content": self._content(message)})

    def _content(self, message: Message) -> str | list[dict[str, Any]]:
        text = message.content
        if self.kind == "exo":
            # exo's runner kills itself on "… FAIL", "… OOM", "… TIMEOUT", even in the middle of someone's data.
            text = text.replace("EXO RUNNER MUST ", "EXO RUNNER\u200d MUST ")
        if not message.images:
            return text
        images = [{"type": "image_url", "image_url": {"url": url}} for url in message.images]
        return [{"type": "text", "text": text}, *images]

    @asynccontextmanager
    async def _response(self, body: bytes) -> AsyncGenerator[Response, None]:
        """Send the request, again where that can do no harm, and hand over a response with status 200."""
        pauses = iter(self.pauses)
        may_wait = True
        while True:
            try:
                response = await self._send(body)
            except httpx.TransportError as error:
                # Not one byte of a reply. Most often an idle connection that the server has closed meanwhile.
                pause = None if isinstance(error, httpx.TimeoutException) else next(pauses, None)
                if pause is None:
                    raise self._unreachable(error) from error
            else:
                try:
                    if response.status == httpx.codes.OK:
                        yield response
                        return
                    pause = _retry_after(response, self.busy_pause) if may_wait else None
                    if pause is None:
                        raise await self._refused(response)
                finally:
                    await response.aclose()
                may_wait = False
            await asyncio.sleep(pause)

    async def _send(self, body: bytes) -> Response:
        limit = min(self._clocks.first, self._clocks.silence)
        try:
            # Redirects, cookies and the like, which a client sees to, are not for servers on this machine.
            if self._near is not None:
                deadline = asyncio.get_running_loop().time() + limit
                return decoded(await self._near.exchange(self._server, self._written(body), deadline))
            async with asyncio.timeout(limit):
                request = httpx.Request("POST", self._endpoint, content=body, headers=self._fields)
                return FarResponse(await self._client.send(request, stream=True))
        except TimeoutError:
            raise ModelStalledError(
                f"{self.where} took the request and has not answered for {limit:.0f} s. Look at the server's "
                "log; it may need a restart."
            ) from None

    def _written(self, body: bytes) -> bytes:
        """Return a request with its head, which is the same each time but for the length."""
        if self._head is None:
            request = httpx.Request("POST", self._endpoint, headers=[*self._fields, (b"Content-Length", b"0")])
            self._head = head_of(request).removesuffix(b"0\r\n\r\n")
        return b"%b%d\r\n\r\n%b" % (self._head, len(body), body)

    async def _refused(self, response: Response) -> ModelError:
        try:
            body = await read_all(response, asyncio.get_running_loop().time() + self._clocks.connect)
        except (TimeoutError, httpx.HTTPError):
            body = b""
        available: Sequence[str] = ()
        if response.status in {400, 404}:
            available = await self._available()
        return refusal(
            response.status,
            body,
            model=self.name,
            where=self.where,
            available=available,
            secret=self._api_key,
            after=_retry_after(response, 0.0),
        )

    async def _available(self) -> list[str]:
        """Return the models that can be asked here; empty if the server does not say."""
        if self.kind == "exo":
            # exo's /v1/models is its catalogue, of which nearly nothing is loaded.
            return sorted({instance.model for instance in await exo_instances(self._client, self._url)})
        return [entry["id"] for entry in await listed_models(self._client, self._url)]

    def _unreachable(self, error: Exception) -> ModelError:
        return ModelUnreachableError(
            f"Nothing answers at {self.where} ({type(error).__name__}). Start the server there, or set "
            "KOWALSKI_URL to the address of another one."
        )


def _encoded(value: Mapping[str, Any]) -> bytes:
    """Return `value` as JSON."""
    # "replace" is for lone surrogates, which Python strings may hold and UTF-8 may not.
    return _encode(value).encode("utf-8", "replace")


def _retry_after(response: Response, default: float | None) -> float | None:
    """Return the seconds after which the server wants to be asked again; None if that is no use, or if it is too long.

    Args:
        response: a refusal.
        default: what counts where the server is busy and does not say for how long.
    """
    if response.status not in BUSY:
        return None
    seconds = retry_after(response.fields.get(b"retry-after", b"").decode("latin-1"))
    if seconds is None:
        return default
    return seconds if seconds <= _LONGEST_WAIT else None
