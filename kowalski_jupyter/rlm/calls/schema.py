"""Replies and answers that must fulfil a JSON Schema.

A schema may come from code that a model wrote. It is never fetched from anywhere, and its regular expressions, which
could keep this process busy for ever, are told to the model but not checked (`harmless`).

jsonschema is imported when the first schema comes: it takes over a second, and most runs have none.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kowalski_jupyter.rlm.calls.json_values import json_values

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

_LARGEST = 64 << 10
_PATTERNS = frozenset({"pattern", "patternProperties"})
_NAMED = frozenset({"properties", "$defs", "definitions", "dependentSchemas"})
"""What has schemas under names of its author's choice."""

_DATA = frozenset({"const", "enum", "default", "examples", "required", "dependentRequired"})
_OTHERS = frozenset({"additionalProperties", "unevaluatedProperties"})
"""What holds for the properties that no pattern names."""

_STRICTER = frozenset({"not", "oneOf", "if"})
"""What may refuse more where the schemas in it refuse less."""


class MismatchError(ValueError):
    """A value does not fulfil its schema. The message says where and why, for a model to mend it."""


def check_schema(schema: object) -> None:
    """Say whether a JSON Schema can be used.

    Raises:
        ValueError: it cannot; the text says why.
    """
    if not isinstance(schema, Mapping):
        raise ValueError(f"A JSON Schema is a dict, not {type(schema).__name__}.")  # noqa: TRY004 - one kind for callers
    from jsonschema import Draft202012Validator, SchemaError  # noqa: PLC0415 - slow

    try:
        size = len(json.dumps(schema))
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"Not a JSON Schema: {error.message}") from None
    except (TypeError, RecursionError) as error:
        raise ValueError(f"Not a JSON Schema: {error}") from None
    if size > _LARGEST:
        raise ValueError(f"A schema may have {_LARGEST:,} characters; this one has {size:,}.")


def harmless(schema: Any) -> Any:
    """Return a schema without its regular expressions, for one that nobody vouches for. It refuses nothing more."""
    if isinstance(schema, list):
        return [harmless(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    left_out = _PATTERNS | _OTHERS if "patternProperties" in schema else _PATTERNS
    checked = {}
    for key, value in schema.items():
        if key in left_out:
            continue
        if key in _DATA:
            checked[key] = value
        elif key in _NAMED and isinstance(value, Mapping):
            checked[key] = {name: harmless(each) for name, each in value.items()}
        elif (part := harmless(value)) == value or key not in _STRICTER:
            checked[key] = part
    return checked


def validate(value: object, schema: Mapping[str, Any]) -> None:
    """Say whether a JSON value fulfils a schema.

    Raises:
        MismatchError: it does not.
    """
    from jsonschema.exceptions import best_match  # noqa: PLC0415 - slow
    from referencing.exceptions import Unresolvable  # noqa: PLC0415 - slow

    try:
        error = best_match(_validator(json.dumps(schema)).iter_errors(value))
    except (Unresolvable, RecursionError) as problem:
        raise MismatchError(f"the schema cannot be followed: {problem}") from None
    if error is not None:
        raise MismatchError(f"{error.json_path.replace('$', 'value', 1)}: {error.message[:300]}")


def read_reply(reply: str, schema: Mapping[str, Any]) -> Any:
    """Return the JSON value in a model's reply: alone, in a fence, or with words around it.

    Raises:
        MismatchError: there is none, or none that fulfils `schema`.
    """
    reason = MismatchError("the reply is not JSON")
    for candidate in json_values(reply):
        try:
            validate(candidate, schema)
        except MismatchError as error:
            reason = error
        else:
            return candidate
    raise reason


def instruction(schema: Mapping[str, Any]) -> str:
    """Return what is added to a prompt whose reply must fulfil `schema`."""
    return f"Reply with JSON only, no other words. It must fulfil this JSON Schema:\n{json.dumps(schema)}"


def correction(error: MismatchError) -> str:
    """Return what a model is told whose reply did not fulfil its schema."""
    return f"That reply cannot be used: {error}. Reply again, with the JSON only."


@functools.lru_cache(maxsize=32)
def _validator(schema: str) -> Draft202012Validator:
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - slow
    from referencing import Registry  # noqa: PLC0415 - slow

    return Draft202012Validator(json.loads(schema), registry=Registry())
