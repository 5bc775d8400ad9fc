"""The parts of the messages on the per-run socket (calls.py), taken apart and put together."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, get_args, get_type_hints

from .base import Query, Value
from .client import valid

_VALUE_KINDS = get_args(get_type_hints(Value)["kind"])


class BadRequestError(Exception):
    """The request makes no sense."""


class Reply(NamedTuple):
    """A line of JSON, and the raw bytes that follow it."""

    line: Mapping[str, Any]
    data: Sequence[bytes] = ()

    @classmethod
    def error(cls, text: str) -> Reply:
        """Return the reply that says what went wrong."""
        return cls({"error": text})

    def parts(self) -> Iterator[bytes]:
        """Yield what is sent."""
        size = {"size": sum(map(len, self.data))} if self.data else {}
        yield json.dumps({**self.line, **size}).encode() + b"\n"
        yield from self.data


def field(request: Mapping[str, Any], name: str, kind: type) -> Any:
    """Return a field of a request; it has to be there and of type `kind`."""
    value = request.get(name)
    if not isinstance(value, kind):
        raise BadRequestError(f"`{name}` is missing or of the wrong type")
    return value


def value_of(header: Mapping[str, Any], data: bytes) -> Value:
    """Return a value of which the request holds the `header`."""
    kind, type_name, text = (field(header, name, str) for name in ("kind", "type", "text"))
    if kind not in _VALUE_KINDS:
        raise BadRequestError(f"`kind` must be one of {', '.join(_VALUE_KINDS)}")
    return Value(kind, valid(type_name[:200]), valid(text[:20_001]), data)


def carried(content: Mapping[str, Any], name: str) -> Value | None:
    """Return the value that comes with a cell's end under a name, its data in Base64; None if there is none.

    Raises:
        BadRequestError: it is not one.
    """
    header = content.get(name)
    if header is None:
        return None
    if not isinstance(header, dict):
        raise BadRequestError(f"`{name}` must be an object")
    try:
        data = base64.b64decode(field(header, "data", str), validate=True)
    except ValueError:
        raise BadRequestError(f"the data of `{name}` must be Base64") from None
    return value_of(header, data)


def queries_of(request: Mapping[str, Any], payload: bytes) -> list[Query]:
    """Take a request's queries apart. Those that are about the same value share it."""
    values, start = list[Value](), 0
    for header in _objects(request, "values"):
        size = field(header, "size", int)
        if not 0 <= size <= len(payload) - start:
            raise BadRequestError("the sizes of `values` do not fit the data")
        values.append(value_of(header, payload[start : start + size]))
        start += size
    queries = []
    for query in _objects(request, "queries"):
        place = query.get("context")
        if place is not None and not (type(place) is int and 0 <= place < len(values)):
            raise BadRequestError("`context` must be a place in `values`, or null")
        queries.append(Query(valid(field(query, "question", str)), None if place is None else values[place]))
    return queries


def _objects(request: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = field(request, name, list)
    if not all(isinstance(item, dict) for item in found):
        raise BadRequestError(f"`{name}` must be a list of objects")
    return list(found)


def item(outcome: Any, describe: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """Return one item of a batch: what `describe` makes of it, or why it failed."""
    if not isinstance(outcome, Exception):
        return describe(outcome)
    return {"error": words(outcome), **({"lasting": True} if getattr(outcome, "lasting", False) else {})}


def words(error: Exception) -> str:
    """Return what the model's code is told of `error`."""
    return str(error) or type(error).__name__
