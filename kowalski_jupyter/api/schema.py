"""Typed answers: a JSON Schema, or a pydantic model whose instance the answer becomes.

A pydantic model is known by its two methods, so that pydantic is needed only where it is used:
https://docs.pydantic.dev/latest/concepts/models/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from kowalski_jupyter.rlm.text import one_line

Schema = Mapping[str, Any] | type
"""A JSON Schema as a dict, or a pydantic model class."""

_REFUSAL_CHARS = 500
_LINK = re.compile(r"\s+For further information visit \S+")
"""What pydantic adds to each error."""


def as_json_schema(schema: Schema) -> dict[str, Any]:
    """Return the JSON Schema that a run gets.

    Raises:
        ValueError: it is neither, or no valid schema; one line that says where.
    """
    from kowalski_jupyter.rlm.calls.schema import check_schema  # noqa: PLC0415 (slow to import, and seldom used)

    if isinstance(schema, Mapping):
        given = dict(schema)
    elif hasattr(schema, "model_json_schema") and hasattr(schema, "model_validate"):
        given = dict(schema.model_json_schema())
    else:
        kind = f"the class {schema.__name__}" if isinstance(schema, type) else f"a {type(schema).__name__}"
        raise ValueError(f"A schema is a JSON Schema as a dict, or a pydantic model class, not {kind}.")
    check_schema(given)
    return given


def has_rules(schema: Schema | None) -> bool:
    """Return whether a schema is a model class, which may have rules that its JSON Schema does not tell."""
    return not isinstance(schema, Mapping) and hasattr(schema, "model_validate")


def as_instance(schema: Schema | None, value: Any) -> Any:
    """Return an answer as an instance of the user's model class; as it is where the schema is none.

    Raises:
        ValueError: the model class takes it not, though it fits the JSON Schema; pydantic's own error.
    """
    return schema.model_validate(value) if has_rules(schema) else value  # type: ignore[union-attr]


def refusal(schema: Schema | None, value: Any) -> str:
    """Return in one line why the user's model class does not take an answer; empty if it does.

    Another error of its validators is none of the answer's, and no word for the model: `as_instance` raises it later.
    """
    try:
        as_instance(schema, value)
    except ValueError as error:
        return one_line(_LINK.sub("", str(error)), _REFUSAL_CHARS) or type(error).__name__
    except Exception:  # noqa: BLE001 - the user's code
        return ""
    return ""
