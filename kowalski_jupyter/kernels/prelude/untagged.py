"""JSON with tags (tagged.py) as JSON without: what JSON lacks becomes a list or a text."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping
from typing import Any


def untagged(data: bytes, *, strictly: bool) -> Any:
    """Return what the JSON in `data` says: tuples and sets as lists, keys, dates and exact fractions as texts.

    Args:
        data: of a `Value` (kernels/base.py) of the kind ``json``, from code that nobody vouches for.
        strictly: refuse nan, infinity, complex numbers and bytes. Else the first two stay and the others become texts.

    Raises:
        ValueError: the data is not what it should be, or there is something in it that is refused.
    """
    tags = _STRICT if strictly else _ALL

    def without_tag(found: dict[str, Any]) -> Any:
        if "$" not in found:
            return found
        tag, value = found["$"], found["v"]
        return tags[tag](value) if tag in tags else _refuse(value if tag == "float" else tag)

    try:
        text = data.decode("utf-8", "surrogatepass")
        return json.loads(text, object_hook=without_tag, parse_constant=_refuse if strictly else None)
    except (TypeError, KeyError, OverflowError, RecursionError) as error:
        raise ValueError(f"it cannot be read: {error}") from error


def _refuse(what: str) -> Any:
    raise ValueError(f"JSON has no form for {what}")


def _with_texts_as_keys(pairs: Any) -> dict[str, Any]:
    return {key if isinstance(key, str) else json.dumps(key): value for key, value in pairs}


def _span(parts: Any) -> str:
    span = dt.timedelta(*parts)
    return f"-{-span}" if span < dt.timedelta() else str(span)


_STRICT: Mapping[str, Callable[[Any], Any]] = {
    "int": lambda v: int(v, 16),
    "tuple": list,
    "set": list,
    "dict": _with_texts_as_keys,
    "timedelta": _span,
    **dict.fromkeys(("datetime", "date", "time", "decimal", "fraction", "uuid"), str),
}
_ALL: Mapping[str, Callable[[Any], Any]] = {**_STRICT, "float": float, "complex": str, "bytes": str}
