"""Who thinks up the replies: rules, another server, or the process that began the simulation."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any

from kowalski_jupyter.exo_sim.plan import Forward, Plan, Reply, Rule

_TOKEN = re.compile(r"\s?\w+|\s?[^\w\s]|\s+")


def tokens(text: str) -> list[str]:
    """Cut a text as a model says it; joined, they are the text again."""
    return _TOKEN.findall(text)


def last_user_text(messages: Sequence[Any]) -> str:
    """Return the text of the last message of a user's."""
    found = [
        message.get("content") for message in messages if isinstance(message, dict) and message.get("role") == "user"
    ]
    return text_of(found[-1]) if found else ""


def text_of(content: object) -> str:
    """Return the text of a message's content, in whichever form."""
    if isinstance(content, list):
        return "".join(text_of(part.get("text")) if isinstance(part, dict) else text_of(part) for part in content)
    return content if isinstance(content, str) else ""


class Replies:
    """Makes a reply for each request, as the plan says."""

    def __init__(self, plan: Plan, ask: Callable[[dict[str, Any]], None]) -> None:
        self._plan = plan
        self._rules = [(re.compile(rule.pattern, re.DOTALL), rule) for rule in plan.rules]
        self._ask = ask
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Reply]] = {}
        self._forwarder: _Forwarder | None = None

    def at_once(self, payload: dict[str, Any]) -> Reply | None:
        """Return the reply if it takes no waiting to know it."""
        if self._plan.ask or self._plan.forward:
            return None
        said = last_user_text(payload["messages"])
        for pattern, rule in self._rules:
            match = pattern.search(said)
            if match and rule.model in (None, payload["model"]):
                return _by_rule(rule, said, match)
        return Reply("No rule of the simulation matches this message.")

    async def make(self, payload: dict[str, Any], request_id: str) -> Reply:
        """Return the reply for one request."""
        reply = self.at_once(payload)
        if reply is not None:
            return reply
        if self._plan.forward and not self._plan.ask:
            self._forwarder = self._forwarder or _Forwarder(self._plan.forward)
            return await self._forwarder.make(payload)
        number = next(self._numbers)
        self._asked[number] = asyncio.get_running_loop().create_future()
        self._ask({"op": "ask", "id": number, "request": request_id, "payload": payload})
        try:
            return await self._asked[number]
        finally:
            del self._asked[number]

    def answered(self, number: int, reply: dict[str, Any]) -> None:
        """Take the reply to a request that was asked on."""
        waiting = self._asked.get(number)
        if waiting is not None and not waiting.done():
            waiting.set_result(Reply(**reply))

    async def close(self) -> None:
        """Close connections to another server."""
        if self._forwarder is not None:
            await self._forwarder.close()


def _by_rule(rule: Rule, said: str, match: re.Match[str]) -> Reply:
    text = said if rule.echo else match.expand(rule.text) if "\\" in rule.text else rule.text
    return Reply(text, rule.delay, rule.tokens_per_second)


class _Forwarder:
    """Gets replies from another server."""

    def __init__(self, forward: Forward) -> None:
        import httpx  # noqa: PLC0415 (only a simulation that forwards needs it)

        self._forward = forward
        self._error = httpx.HTTPError
        self._client = httpx.AsyncClient(timeout=None)  # noqa: S113 (a model takes its time)

    async def make(self, payload: dict[str, Any]) -> Reply:
        """Return the other server's reply; its errors are the reply's text."""
        body = {key: value for key, value in payload.items() if key != "stream"}
        url = f"{self._forward.url.rstrip('/').removesuffix('/v1')}/v1/chat/completions"
        try:
            answer = await self._client.post(url, json=body | {"model": self._forward.model or payload["model"]})
            choice = answer.raise_for_status().json()["choices"][0]
            text, finish = text_of(choice["message"].get("content")), choice.get("finish_reason") or "stop"
        except (ValueError, LookupError, TypeError, AttributeError, self._error) as error:
            return Reply(f"The server that the simulation forwards to failed: {error!r}")
        return Reply(text, tokens_per_second=self._forward.tokens_per_second, finish=finish)

    async def close(self) -> None:
        await self._client.aclose()
