"""The JSON values in a model's reply: alone, in a fence, or with words around them."""

from __future__ import annotations

import json
import re
from typing import Any

_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL)
_OPENERS = re.compile(r"[\[{]")
_MOST_TRIES = 50


def json_values(reply: str) -> list[Any]:
    """Return the JSON values that a reply may mean, the most likely first."""
    found = []
    for text in (reply, *_FENCED.findall(reply)):
        try:
            found.append(json.loads(text))
        except ValueError:
            continue
    decoder = json.JSONDecoder()
    position = 0
    for _ in range(_MOST_TRIES):
        match = _OPENERS.search(reply, position)
        if match is None:
            break
        try:
            value, position = decoder.raw_decode(reply, match.start())
        except (ValueError, RecursionError):
            position = match.end()
        else:
            found.append(value)
    return found
