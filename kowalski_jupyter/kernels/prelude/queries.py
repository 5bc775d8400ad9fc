"""The functions by which a run's code asks models: `llm_query`, `rlm_query` and their relatives.

Each of the four says what is sent and what becomes of the reply; `query_functions` makes of each a function that waits
and one to ``await``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from .as_text import as_text
from .calls import Calls, QueryError, Reply, Request
from .decode import decode
from .encode import encode
from .forms import with_form
from .options import fitted, options_of

Functions = dict[str, Callable[..., Any]]
_Schema = Mapping[str, Any] | type | None


class Question(NamedTuple):
    """What is sent, and what becomes of the reply."""

    request: Request
    finish: Callable[[Reply], Any]


def query_functions(calls: Calls, allowed: Collection[str], *, starts_runs: bool) -> Functions:
    """Return the functions of the `allowed` groups, ``llm_query`` and ``rlm_query``, by name.

    `starts_runs`: whether runs of their own answer queries, or a plain call does.
    """

    def wait(question: Question) -> Any:
        return question.finish(calls.call(question.request))

    async def wait_async(question: Question) -> Any:
        return question.finish(await calls.call_async(question.request))

    runs = RunQueries(starts_runs=starts_runs)
    groups: Mapping[str, Sequence[Callable[..., Question]]] = {
        "llm_query": (llm_query, llm_query_batched),
        "rlm_query": (runs.rlm_query, runs.rlm_query_batched),
    }
    found: Functions = {}
    for asking in (function for group in allowed for function in groups.get(group, ())):
        name = asking.__name__
        found[name] = with_form(asking, name, wait)
        found[f"{name}_async"] = with_form(asking, f"{name}_async", wait_async)
    return found


def llm_query(
    prompt: Any,
    model: str | None = None,
    schema: _Schema = None,
    max_tokens: int | None = None,
    sample: int | None = None,
) -> Question:
    """Ask a language model and return its reply, a str.

    Args:
        prompt: All that the model gets to see.
        model: Another model than the run's own.
        schema: A JSON Schema (a dict) or a pydantic model class: the reply is then a value that fits it.
        max_tokens: The longest reply.
        sample: A number: the same prompt with another one is answered anew.

    Raises:
        QueryError: there is no reply. ``str()`` of it says why.
    """
    if not isinstance(prompt, str):
        hint = "; for many prompts there is llm_query_batched" if isinstance(prompt, list | tuple) else ""
        raise TypeError(f"llm_query takes one str, not {type(prompt).__name__}{hint}")
    options = options_of(model=model, schema=schema, max_tokens=max_tokens, sample=sample)
    request = Request("llm_query", {"prompt": prompt, "options": options})
    return Question(request, lambda reply: fitted(reply.value, schema))


def llm_query_batched(
    prompts: Iterable[Any],
    model: str | None = None,
    schema: _Schema = None,
    max_tokens: int | None = None,
    sample: int | None = None,
) -> Question:
    """Ask many prompts at once; the replies come in the same order, as `llm_query` gives them.

    A prompt that could not be answered has a QueryError in its place.
    """
    listed = _texts("llm_query_batched", prompts, "prompt", "llm_query")
    options = options_of(model=model, schema=schema, max_tokens=max_tokens, sample=sample)

    def finish(reply: Reply) -> list[Any]:
        return [_or_error(item, lambda item: fitted(item["reply"], schema)) for item in reply.value]

    return Question(Request("llm_query_batched", {"prompts": listed, "options": options}), finish)


class RunQueries:
    """What asks for runs. Where there can be none, a context goes out as the text that a model then reads."""

    def __init__(self, *, starts_runs: bool) -> None:
        self._starts_runs = starts_runs

    def rlm_query(self, question: Any, context: Any = None, model: str | None = None) -> Question:
        """Have a question about a value answered by a run of its own, with its own code, and return its answer.

        Args:
            question: What is asked.
            context: The data that it is about: any value that FINAL takes. Where there can be no further runs, a plain
                call answers, which gets it as text: a table as CSV, other data as JSON.
            model: Another model than the run's own.

        Raises:
            QueryError: there is no answer. ``str()`` of it says why.
        """
        if not isinstance(question, str):
            hint = "; for many questions there is rlm_query_batched" if isinstance(question, list | tuple) else ""
            raise TypeError(f"rlm_query takes one question, a str, not {type(question).__name__}{hint}")

        def finish(reply: Reply) -> Any:
            (answer,) = _answers(reply)
            if isinstance(answer, QueryError):
                raise answer
            return answer

        return Question(self._queries([question], [context], model), finish)

    def rlm_query_batched(
        self, questions: Iterable[Any], contexts: Iterable[Any] | None = None, model: str | None = None
    ) -> Question:
        """Do as `rlm_query` for many questions at once, each with the context at the same place of `contexts`.

        The answers come in the same order. A question that could not be answered has a QueryError in its place.
        """
        listed = _texts("rlm_query_batched", questions, "question", "rlm_query")
        if isinstance(contexts, str | bytes | Mapping):
            raise TypeError("rlm_query_batched takes a list of contexts; for the same one: [context] * len(questions)")
        given = [None] * len(listed) if contexts is None else list(contexts)
        if len(given) != len(listed):
            raise TypeError(f"rlm_query_batched takes a context for each question: {len(listed)}, not {len(given)}")
        return Question(self._queries(listed, given, model), _answers)

    def _queries(self, questions: list[str], contexts: list[Any], model: str | None) -> Request:
        """Encode each context once, however many questions are about it."""
        places: dict[int, int] = {}
        headers: list[dict[str, Any]] = []
        pieces: list[bytes] = []
        for context in contexts:
            if context is None or id(context) in places:
                continue
            if isinstance(context, os.PathLike):
                raise TypeError("A child run does not see this run's files. Give it what is in them: path.read_text()")
            kind, type_name, text, data = encode(context if self._starts_runs else as_text(context))
            places[id(context)] = len(headers)
            headers.append({"kind": kind, "type": type_name, "text": text, "size": len(data)})
            pieces.append(data)
        queries = [
            {"question": question, "context": None if context is None else places[id(context)]}
            for question, context in zip(questions, contexts, strict=True)
        ]
        fields = {"queries": queries, "values": headers, "options": options_of(model=model)}
        return Request("rlm_query_batched", fields, b"".join(pieces))


def _texts(function: str, texts: Iterable[Any], what: str, for_one: str) -> list[str]:
    if isinstance(texts, str | bytes | Mapping):
        raise TypeError(f"{function} takes a list of {what}s; for one {what} there is {for_one}")
    listed = list(texts)
    for place, text in enumerate(listed):
        if not isinstance(text, str):
            raise TypeError(f"{function} takes a list of str, and {what} {place} is {type(text).__name__}")
    return listed


def _answers(reply: Reply) -> list[Any]:
    answers, start = [], 0
    for item in reply.value:
        data = reply.payload[start : start + item.get("size", 0)]
        start += len(data)
        answers.append(_or_error(item, partial(_decoded, data)))
    return answers


def _decoded(data: bytes, item: Mapping[str, Any]) -> Any:
    try:
        return decode(item["kind"], data)
    except ValueError as error:
        raise QueryError(str(error)) from error


def _or_error(item: Mapping[str, Any], value_of: Callable[[Any], Any]) -> Any:
    """Return the value of one item of a batch, or the error that stands in its place."""
    if "error" in item:
        error = QueryError(item["error"])
        error.lasting = item.get("lasting", False)
        return error
    try:
        return value_of(item)
    except QueryError as error:
        return error
