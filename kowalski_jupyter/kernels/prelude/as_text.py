"""A value as the text that a model is given: all of it, or an error."""

from __future__ import annotations

import json
import sys
from typing import Any

from .encode import to_json
from .figures import encode_figure
from .plain import as_csv, is_table
from .untagged import untagged


def as_text(value: Any) -> str:
    """Return a text as it is, a table as CSV, and other data as JSON.

    Raises:
        TypeError: it has no such form; says what to give instead.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            raise TypeError("A model reads text, and these bytes are no UTF-8. Decode them first.") from None
    if encode_figure(value) is not None:
        raise TypeError("A model reads text, and a figure has none. Give the data that it shows.")
    value = _as_table(value)
    if is_table(value):
        return as_csv(value)
    return json.dumps(untagged(to_json(value), strictly=False), ensure_ascii=False, separators=(",", ":"))


def _as_table(value: Any) -> Any:
    """Return a pandas or polars Series as a table: it may have an index."""
    for library in ("pandas", "polars"):
        if (module := sys.modules.get(library)) and isinstance(value, module.Series):
            return value.to_frame("value" if value.name in {None, ""} else value.name)
    return value
