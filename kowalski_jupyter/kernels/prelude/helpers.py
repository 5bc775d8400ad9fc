"""Ways to ask many prompts that small models would otherwise write anew, and wrongly, in every run."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .calls import Calls, QueryError
from .queries import llm_query_batched

TOGETHER = 12_000
"""Characters of texts that `tree_reduce` puts into one prompt unless told."""
_GAP = "\n\n"


class _Made(str):
    """A text that a model has made of others."""

    __slots__ = ()


def _is_short(group: list[str]) -> bool:
    """Return whether a group is a single text that is as short as the model makes it."""
    return len(group) == 1 and isinstance(group[0], _Made)


class Helpers:
    """The helpers that ask through `calls`. A QueryError for the whole of what they ask goes through to the code."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def map_query(
        self,
        items: Iterable[Any],
        template: str | Callable[[Any], str],
        schema: Any = None,
        retries: int = 1,
        *,
        model: str | None = None,
        max_tokens: int | None = None,
    ) -> list[Any]:
        """Ask the same about each item; return the replies in the items' order.

        Args:
            items: A list. What is no text is put into the prompt as JSON.
            template: The prompt, with ``{item}`` where the item goes, or a function that makes it from an item.
            schema: As in `llm_query`; a reply that does not fit it counts as failed.
            retries: How often the items that failed, and only those, are asked again; not those that are too long.
            model: As in `llm_query`.
            max_tokens: As in `llm_query`.

        An item that failed every time has a QueryError in its place.
        """
        _check_count("map_query", "retries", retries, 0)
        make = _prompt_maker(template)
        prompts = [make(item) for item in _checked_items(items)]
        options = {"model": model, "schema": schema, "max_tokens": max_tokens}
        replies = self._batch(prompts, **options) if prompts else []
        for attempt in range(1, retries + 1):
            failed = [
                place for place, reply in enumerate(replies) if isinstance(reply, QueryError) and not reply.lasting
            ]
            if not failed:
                break
            try:
                again = self._batch([prompts[place] for place in failed], sample=attempt, **options)
            except QueryError:
                break  # no more calls, but what there is stays
            for place, reply in zip(failed, again, strict=True):
                replies[place] = reply
        return replies

    def vote(
        self, prompt: str, n: int = 3, schema: Any = None, *, model: str | None = None, max_tokens: int | None = None
    ) -> Any:
        """Ask a prompt `n` times and return the reply that came most often, the earliest of those if several did.

        Blanks, large and small letters and a full stop at the end make no difference.

        Raises:
            QueryError: none of them was answered, or the run has fewer calls left.
        """
        if not isinstance(prompt, str):
            raise TypeError(f"vote takes one str, not {type(prompt).__name__}")
        _check_count("vote", "n", n, 1)
        replies = self._batch([prompt] * n, model=model, schema=schema, max_tokens=max_tokens)
        votes: dict[str, list[Any]] = {}
        for reply in replies:
            if not isinstance(reply, QueryError):
                votes.setdefault(_normal(reply), []).append(reply)
        if not votes:
            raise replies[0]
        return max(votes.values(), key=len)[0]

    def tree_reduce(
        self,
        texts: Iterable[str],
        instruction: str,
        size: int = TOGETHER,
        *,
        model: str | None = None,
        max_tokens: int | None = None,
    ) -> str:
        """Combine texts into one: groups of neighbours by a prompt each, then the results, until one is left.

        Args:
            texts: A list of str.
            instruction: What is to be made of a group of them, such as "Merge these notes into one list."
            size: Characters of texts that go into one prompt; two texts do at least. Where that is too long for the
                model, fewer do, and two that are too long together are made shorter first, each by itself.
            model: As in `llm_query`.
            max_tokens: As in `llm_query`.

        Raises:
            QueryError: a group could not be combined, not even at a second attempt.
        """
        _check_count("tree_reduce", "size", size, 1)
        if not isinstance(instruction, str):
            raise TypeError(f"tree_reduce: instruction is a str, not {type(instruction).__name__}")
        level = _checked_texts(texts)
        while True:
            groups = _grouped(level, size)
            # A text that is left over needs no prompt, unless it is the only one there ever was.
            left = groups.pop() if len(groups) > 1 and len(groups[-1]) == 1 else []
            made = self._combined(instruction, groups, model=model, max_tokens=max_tokens)
            level = [*itertools.chain.from_iterable(made), *left]
            if len(level) == 1:
                return str(level[0])

    def _combined(self, instruction: str, groups: list[list[str]], **options: Any) -> list[list[str]]:
        """Return the text that each group becomes, or, of one that is too long for a prompt, those of its halves."""
        if not groups:
            return []
        replies = self.map_query([_together(instruction, group) for group in groups], "{item}", **options)
        halves: list[list[str]] = []
        for group, reply in zip(groups, replies, strict=True):
            if not isinstance(reply, QueryError):
                continue
            parts = [group[: len(group) // 2], group[len(group) // 2 :]]
            if not reply.lasting or len(group) == 1 or all(map(_is_short, parts)):
                raise reply
            halves += parts
        made = iter(self._combined(instruction, [half for half in halves if not _is_short(half)], **options))
        shorter = iter([half if _is_short(half) else next(made) for half in halves])
        return [next(shorter) + next(shorter) if isinstance(reply, QueryError) else [_Made(reply)] for reply in replies]

    def _batch(self, prompts: list[str], **options: Any) -> list[Any]:
        question = llm_query_batched(prompts, **options)
        replies: list[Any] = question.finish(self._calls.call(question.request))
        return replies


def _check_count(function: str, name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise TypeError(f"{function}: {name} is a whole number, {least} or more, not {value!r}")


def _checked_items(items: Any) -> list[Any]:
    for what, wrong, hint in (
        ("one text", isinstance(items, str | bytes), "chunks(text)"),
        ("a dict", isinstance(items, Mapping), "list(data.items())"),
        ("a table", hasattr(items, "columns"), "df.to_dict('records')"),
    ):
        if wrong:
            raise TypeError(f"map_query takes a list of items, not {what}. Perhaps {hint} is what you want")
    listed = list(items)
    for place, item in enumerate(listed):
        if isinstance(item, QueryError):
            raise TypeError(f"map_query: item {place} is a QueryError ({item}). Leave out those that failed")
    return listed


def _prompt_maker(template: Any) -> Callable[[Any], str]:
    if isinstance(template, str):
        if "{item}" not in template:
            raise ValueError(
                "map_query: the template has to contain {item}, which becomes the item. "
                "For parts of items give a function: lambda item: 'Who is ' + item['name'] + '?'"
            )
        return lambda item: template.replace("{item}", _as_text(item))
    if not callable(template):
        raise TypeError(
            f"map_query: template is a str with {{item}} in it or a function, not {type(template).__name__}"
        )

    def make(item: Any) -> str:
        prompt = template(item)
        if not isinstance(prompt, str):
            raise TypeError(f"map_query: the template's function has to return a str, not {type(prompt).__name__}")
        return prompt

    return make


def _as_text(item: Any) -> str:
    if isinstance(item, str):
        return item
    try:
        return json.dumps(item, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        return repr(item)


def _normal(reply: Any) -> str:
    """Return what two replies that mean the same have in common."""
    if isinstance(reply, str):
        return " ".join(reply.split()).casefold().removesuffix(".").rstrip()
    if hasattr(reply, "model_dump_json"):
        return str(reply.model_dump_json())
    return json.dumps(reply, sort_keys=True)


def _checked_texts(texts: Any) -> list[str]:
    if isinstance(texts, str | bytes | Mapping):
        raise TypeError(f"tree_reduce takes a list of str, not one {type(texts).__name__}. Perhaps chunks(text)")
    listed = list(texts)
    for place, text in enumerate(listed):
        if isinstance(text, QueryError):
            raise TypeError(f"tree_reduce: text {place} is a QueryError ({text}). Leave out those that failed")
        if not isinstance(text, str):
            raise TypeError(f"tree_reduce takes a list of str, and text {place} is {type(text).__name__}")
    if not listed:
        raise ValueError("tree_reduce: there are no texts")
    return listed


def _grouped(texts: list[str], size: int) -> list[list[str]]:
    """Return neighbours in groups of up to `size` characters, but of two at least, so that their number falls."""
    groups: list[list[str]] = [[]]
    held = 0
    for text in texts:
        if len(groups[-1]) > 1 and held + len(text) > size:
            groups.append([])
            held = 0
        groups[-1].append(text)
        held += len(text)
    return groups


def _together(instruction: str, group: list[str]) -> str:
    numbered = [f"--- Text {number} of {len(group)} ---\n{text}" for number, text in enumerate(group, 1)]
    return _GAP.join([instruction, *numbered])
