"""What the code of a run finds in its exported notebook: the functions that ask models, answered from the record."""

from __future__ import annotations

import asyncio  # noqa: F401 (this and what follows: names that a run's code may use without importing them)
import json
import math  # noqa: F401
import re  # noqa: F401
from collections import Counter, defaultdict  # noqa: F401
from collections.abc import Callable, Iterable
from typing import Any

from IPython.display import display

RECORDED: dict[str, list[Any]] = {}
"""The replies to each prompt, in order; one that failed is ``{"error": reason}``."""

ANSWER = "answer"
"""The variable that `FINAL` binds."""


class QueryError(Exception):
    """A model could not answer. ``str()`` of it says why; `lasting`, whether asked again it would fail again."""

    lasting = False


class Finished(BaseException):
    """Ends a cell at `FINAL`."""


class until_final:  # noqa: N801 (used like a statement)
    """Surrounds code that is not to go on after `FINAL`."""

    inside = False

    def __enter__(self) -> None:
        until_final.inside = True

    def __exit__(self, kind: object, *_: object) -> bool:
        until_final.inside = False
        return kind is Finished


_given: list[Any] = []


def FINAL(value: Any) -> None:  # noqa: N802 (the name that models know)
    """Show `value` and bind it as the answer; the first one counts."""
    if not _given:
        _given.append(value)
        globals()[ANSWER] = value
        display(value)
    if until_final.inside:
        raise Finished


def FINAL_VAR(name: Any) -> None:  # noqa: N802 (the name that models know)
    """Give the variable called `name` as the answer."""
    FINAL(globals().get(name, name) if isinstance(name, str) else name)


def _recorded(prompt: str) -> Any:
    replies = RECORDED.get(prompt)
    if not replies:
        raise QueryError(f"No reply to this prompt is recorded here, and there is no model: {prompt[:300]!r}")
    reply = replies.pop(0) if len(replies) > 1 else replies[0]
    if isinstance(reply, dict) and set(reply) == {"error"}:
        error = QueryError(reply["error"])
        error.lasting = reply is replies[-1]  # it is what there is, however often one asks
        raise error
    return reply


def _each(function: Callable[[str], Any], items: Iterable[str]) -> list[Any]:
    outcomes: list[Any] = []
    for item in items:
        try:
            outcomes.append(function(item))
        except QueryError as error:
            outcomes.append(error)
    return outcomes


def llm_query(prompt: str, model: object = None, schema: Any = None, **_: object) -> Any:  # noqa: ARG001
    """Return the recorded reply to a prompt: a text, or the value that `schema` asks for."""
    reply = _recorded(prompt)
    return reply if schema is None else getattr(schema, "model_validate_json", json.loads)(reply)


def llm_query_batched(prompts: Iterable[str], model: object = None, schema: Any = None, **_: object) -> list[Any]:
    """Return the recorded replies in order; a prompt without one has a QueryError in its place."""
    return _each(lambda prompt: llm_query(prompt, model, schema), prompts)


def rlm_query(question: str, *_: object, **__: object) -> Any:
    """Return the recorded answer to a question."""
    return _recorded(question)


def rlm_query_batched(questions: Iterable[str], *_: object, **__: object) -> list[Any]:
    """Return the recorded answers in order; a question without one has a QueryError in its place."""
    return _each(_recorded, questions)


def _async(function: Callable[..., Any]) -> Callable[..., Any]:
    async def awaited(*given: Any, **options: Any) -> Any:
        return function(*given, **options)

    return awaited


llm_query_async, llm_query_batched_async = _async(llm_query), _async(llm_query_batched)
rlm_query_async, rlm_query_batched_async = _async(rlm_query), _async(rlm_query_batched)
