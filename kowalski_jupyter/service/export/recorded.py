"""What the code of a run finds in its exported notebook: the functions that ask models, answered from the record."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import math  # noqa: F401 (names that a run's code may use without importing them)
import re  # noqa: F401
import signal
import threading
from collections import Counter, defaultdict  # noqa: F401
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

from IPython.display import display

from kowalski_jupyter.rlm.calls.json_values import json_values

RECORDED: dict[str, list[Any]] = {}
"""The replies to each prompt, in order; for one that failed, a QueryError."""

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


class interrupted_after:  # noqa: N801 (used like a statement)
    """Surrounds code that was stopped in the run after so many seconds, and awaits nothing."""

    def __init__(self, seconds: float) -> None:
        self._over = False
        self._timer = threading.Timer(seconds, self._interrupt)

    def _interrupt(self) -> None:
        self._over = True
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        self._timer.cancel()
        return self._over and kind is KeyboardInterrupt


@contextlib.asynccontextmanager
async def cancelled_after(seconds: float) -> AsyncIterator[None]:
    """Surround code that was stopped in the run after so many seconds, and awaits something."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            yield


def _check_defined(names: Iterable[str]) -> None:
    for name in names:
        if name not in globals():
            raise NameError(f"Define {name} first: it is the data that this run was about.")


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
    if isinstance(reply, QueryError):
        error = QueryError(str(reply))
        error.lasting = reply is replies[-1]  # it is what there is, however often one asks
        raise error
    return copy.deepcopy(reply)


def _each(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
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
    return reply if schema is None else _fitting(reply, schema)


def _fitting(reply: str, schema: Any) -> Any:
    """Return the value in a reply that fits a schema: of a JSON Schema as far as jsonschema is installed."""
    check = getattr(schema, "model_validate", None) or _checked_by(schema)
    for value in json_values(reply):
        try:
            return check(value)
        except ValueError:
            continue
    raise QueryError("The recorded reply does not fit this schema.")


def _checked_by(schema: Any) -> Callable[[Any], Any]:
    try:
        from jsonschema import Draft202012Validator  # noqa: PLC0415 (optional, slow)
    except ImportError:
        return lambda value: value

    def check(value: Any) -> Any:
        if not Draft202012Validator(schema).is_valid(value):
            raise ValueError
        return value

    return check


def llm_query_batched(prompts: Iterable[str], model: object = None, schema: Any = None, **_: object) -> list[Any]:
    """Return the recorded replies in order; a prompt without one has a QueryError in its place."""
    return _each(lambda prompt: llm_query(prompt, model, schema), prompts)


def rlm_query(question: str, context: Any = None, model: object = None) -> Any:  # noqa: ARG001
    """Return the recorded answer to a question about a context."""
    return _recorded(next((prompt for prompt in _prompts(question, context) if prompt in RECORDED), question))


_asked: set[str] = set()


def _prompts(question: str, context: Any) -> Iterator[str]:
    """Yield the prompts that a query may be recorded under: with its context written out where no run answered it."""
    if context is not None:
        try:
            plain = json.dumps(context, ensure_ascii=False, separators=(",", ":"))
            yield f"{question}\n\n{context if isinstance(context, str) else plain}"
        except (TypeError, ValueError):
            pass
    yield question
    if context is not None:  # what JSON cannot say: they come in the order in which they were asked
        about = [prompt for prompt in RECORDED if prompt.startswith(f"{question}\n\n")]
        for prompt in [*(each for each in about if each not in _asked), *about[-1:]][:1]:
            _asked.add(prompt)
            yield prompt


def rlm_query_batched(
    questions: Iterable[str],
    contexts: Iterable[Any] | None = None,
    model: object = None,  # noqa: ARG001
) -> list[Any]:
    """Return the recorded answers in order; a question without one has a QueryError in its place."""
    listed = list(questions)
    given = [None] * len(listed) if contexts is None else list(contexts)
    return _each(lambda pair: rlm_query(*pair), zip(listed, given, strict=True))


def _async(function: Callable[..., Any]) -> Callable[..., Any]:
    async def awaited(*given: Any, **options: Any) -> Any:
        return function(*given, **options)

    return awaited


llm_query_async, llm_query_batched_async = _async(llm_query), _async(llm_query_batched)
rlm_query_async, rlm_query_batched_async = _async(rlm_query), _async(rlm_query_batched)
