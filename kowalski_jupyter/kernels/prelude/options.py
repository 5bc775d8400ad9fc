"""What a prompt may be asked with: the keywords of `llm_query` and its relatives."""

from __future__ import annotations

import json
from typing import Any

from .calls import QueryError


def options_of(*, model: Any, schema: Any = None, max_tokens: Any = None, sample: Any = None) -> dict[str, Any]:
    """Return what was given as the run takes it, and leave out what was not.

    Raises:
        TypeError: something is of the wrong type; says which is right.
    """
    if not isinstance(model, str | None):
        raise TypeError(f"model is the name of a model as a str, not {type(model).__name__}")
    if max_tokens is not None and (not _is_number(max_tokens) or max_tokens < 1):
        raise TypeError(f"max_tokens is a number of tokens, 1 or more, not {max_tokens!r}")
    if sample is not None and not _is_number(sample):
        raise TypeError(f"sample is an int, another one for another reply to the same prompt, not {sample!r}")
    given = {"model": model, "schema": _json_schema(schema), "max_tokens": max_tokens, "sample": sample}
    return {name: value for name, value in given.items() if value is not None}


def fitted(value: Any, schema: Any) -> Any:
    """Return a reply as an instance of `schema` if that is a pydantic model, and as it is otherwise.

    Raises:
        QueryError: the model has rules of its own, beyond its JSON Schema, and the reply breaks them.
    """
    if not _is_pydantic(schema):
        return value
    try:
        return schema.model_validate(value)
    except ValueError as error:  # pydantic's ValidationError is one
        raise QueryError(f"The reply does not fit {schema.__name__}: {error}") from error


def _json_schema(schema: Any) -> dict[str, Any] | None:
    if schema is None:
        return None
    if _is_pydantic(schema):
        schema = schema.model_json_schema()
    try:
        if isinstance(schema, dict):
            json.dumps(schema)
            return schema
    except (TypeError, ValueError):
        pass
    raise TypeError(
        'schema is a JSON Schema as a dict, such as {"type": "array", "items": {"type": "string"}}, '
        f"or a pydantic model class, not {schema!r:.100}"
    )


def _is_pydantic(schema: Any) -> bool:
    return isinstance(schema, type) and hasattr(schema, "model_json_schema")


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
