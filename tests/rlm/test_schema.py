"""What is checked of a JSON Schema that code has written: all but its regular expressions."""

from __future__ import annotations

from typing import Any

import pytest

from kowalski_jupyter.rlm.calls.schema import MismatchError, harmless, read_reply

NAMES = {"format": {"type": "string"}, "pattern": {"type": "integer"}, "patternProperties": {}, "not": {"type": "null"}}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (
            {"properties": NAMES, "required": ["format"], "additionalProperties": False},
            '{"format": "PDF", "pattern": 1}',
        ),
        ({"$defs": {"pattern": {"type": "string"}}, "items": {"$ref": "#/$defs/pattern"}}, '["a"]'),
        ({"const": {"pattern": "x"}}, '{"pattern": "x"}'),
        ({"patternProperties": {"^x": {}}, "additionalProperties": False}, '{"x1": 1}'),
        ({"not": {"pattern": "^a"}}, '"b"'),
        ({"oneOf": [{"pattern": "^a"}, {"pattern": "^b"}]}, '"b"'),
        ({"if": {"pattern": "^a"}, "then": {"maxLength": 1}}, '"bcd"'),
    ],
)
def test_what_fulfils_a_schema_fulfils_what_is_checked_of_it(schema: dict[str, Any], value: str) -> None:
    read_reply(value, harmless(schema))


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"properties": NAMES}, '{"format": 1}'),
        ({"properties": NAMES}, '{"not": 1}'),
        ({"properties": {"a": {"type": "string", "pattern": "x"}}}, '{"a": 1}'),
        ({"$defs": {"format": {"type": "string"}}, "items": {"$ref": "#/$defs/format"}}, "[1]"),
        ({"const": {"pattern": "x"}}, '{"pattern": "y"}'),
        ({"not": {"type": "string"}}, '"a"'),
    ],
)
def test_all_else_is_checked(schema: dict[str, Any], value: str) -> None:
    with pytest.raises(MismatchError):
        read_reply(value, harmless(schema))


def test_a_regular_expression_that_would_never_end_is_not_run() -> None:
    schema = {"items": [{"pattern": "(a|a)*$"}], "patternProperties": {"(a|a)*$": {}}, "anyOf": [{"pattern": "(a+)+$"}]}
    read_reply(f'"{"a" * 60}b"', harmless(schema))
