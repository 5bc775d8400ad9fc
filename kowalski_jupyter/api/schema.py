"""Typed answers: a JSON Schema, or a pydantic model whose instance the answer becomes.

A pydantic model is known by its two methods, so that pydantic is needed only where it is used:
https://docs.pydantic.dev/latest/concepts/models/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any] | type
"""A JSON Schema as a dict, or a pydantic model class."""


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


def as_instance(schema: Schema | None, value: Any) -> Any:
    """Return an answer as an instance of the user's model class; as it is where the schema is none.

    Raises:
        ValueError: the model class takes it not, though it fits the JSON Schema; pydantic's own error.
    """
    validate = None if schema is None or isinstance(schema, Mapping) else getattr(schema, "model_validate", None)
    return value if validate is None else validate(value)
