"""`search`: the places of a text, or the items of a list or dict, where something stands."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any


def search(data: Any, pattern: str | re.Pattern[str], around: int = 200, limit: int = 20) -> list[dict[str, Any]]:
    """Find `pattern` in `data`, whether letters are large or small, and return the first `limit` hits.

    Args:
        data: A text, or a list or dict of texts or of records (dicts, lists …).
        pattern: Plain text or a regular expression; both are tried.
        around: Characters of text that are shown before and after a match.
        limit: The most hits.

    Returns:
        In a text: ``{"start", "end", "text"}`` with ``text == data[start:end]``. In a list ``{"index", …}``, in a dict
        ``{"key", …}``, with the first such passage of an item that is a text, or with the whole ``"item"`` otherwise.
    """
    for name, value in (("around", around), ("limit", limit)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise TypeError(f"search: {name} is a whole number, 0 or more, not {value!r}")
    expression = _compiled(pattern)
    if isinstance(data, str):
        return list(islice(_passages(data, expression, around), limit))
    return list(islice(_items(_named(data), expression, around), limit))


def _compiled(pattern: Any) -> re.Pattern[str]:
    if isinstance(pattern, re.Pattern):
        return pattern
    if not isinstance(pattern, str) or not pattern:
        raise TypeError(f"search looks for a str that is not empty, or a compiled pattern, not {pattern!r}")
    plain = re.escape(pattern)
    # The plain text first: "$5.00" is a valid expression too, which never matches.
    for expression in (f"{plain}|{pattern}", pattern):
        try:
            return re.compile(expression, re.IGNORECASE | re.MULTILINE)
        except re.error:
            continue
    return re.compile(plain, re.IGNORECASE)


def _passages(text: str, expression: re.Pattern[str], around: int) -> Iterator[dict[str, Any]]:
    """Yield what stands around each match that no earlier passage shows."""
    shown = 0
    for match in expression.finditer(text):
        if match.end() > shown and match.group():
            start, end = max(0, match.start() - around), min(len(text), match.end() + around)
            yield {"start": start, "end": end, "text": text[start:end]}
            shown = end


def _named(data: Any) -> Iterable[tuple[dict[str, Any], Any]]:
    """Return the items with what they are called."""
    if isinstance(data, Mapping):
        return (({"key": key}, item) for key, item in data.items())
    if isinstance(data, bytes | bytearray):
        raise TypeError("search takes text, not bytes. Give data.decode(errors='replace')")
    if isinstance(data, os.PathLike):
        raise TypeError("search takes text, not a path. Give path.read_text()")
    if hasattr(data, "columns"):
        raise TypeError(
            "search takes a list of records, not a table. Give df.to_dict('records'), in polars df.to_dicts()"
        )
    if not isinstance(data, Iterable):
        raise TypeError(f"search takes a text, a list or a dict, not {type(data).__name__}")
    return (({"index": index}, item) for index, item in enumerate(data))


def _items(
    named: Iterable[tuple[dict[str, Any], Any]], expression: re.Pattern[str], around: int
) -> Iterator[dict[str, Any]]:
    for name, item in named:
        if isinstance(item, str):
            for passage in islice(_passages(item, expression, around), 1):
                yield name | passage
        elif any(match.group() for text in _texts(item) for match in expression.finditer(text)):
            yield name | {"item": item}


def _texts(item: Any) -> Iterator[str]:
    """Yield the texts in a record: its values, and what is in those. All records have the same keys."""
    if isinstance(item, str):
        yield item
    elif isinstance(item, Mapping):
        for value in item.values():
            yield from _texts(value)
    elif isinstance(item, list | tuple | set | frozenset):
        for value in item:
            yield from _texts(value)
    elif item is not None:
        yield str(item)
