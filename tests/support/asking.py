"""Asks a model from a test."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from kowalski_jupyter.models.base import ChatModel, Delta, Message, Sampling
from kowalski_jupyter.models.openai import OpenAIModel

QUESTION = (Message("system", "Be brief."), Message("user", "What is the capital of France?"))


async def collect(
    model: ChatModel, messages: Sequence[Message] = QUESTION, *, into: list[Delta] | None = None, **sampling: Any
) -> list[Delta]:
    """All deltas of a reply; also put into a list of the caller's, who may want those before an error."""
    came = [] if into is None else into
    async for delta in model.stream(messages, Sampling(**sampling)):
        came.append(delta)
    return came


def ask(url: str, messages: Sequence[Message] = QUESTION, *, name: str = "scripted", **options: Any) -> list[Delta]:
    """One request over a client of its own."""

    async def run() -> list[Delta]:
        model = OpenAIModel(url, name, **options)
        try:
            return await collect(model, messages)
        finally:
            await model.aclose()

    return asyncio.run(run())


def text(deltas: Sequence[Delta]) -> str:
    return "".join(delta.text for delta in deltas)
