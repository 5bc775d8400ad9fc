"""What code may give by keyword when it asks a model, read and checked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from kowalski_jupyter.rlm.calls.schema import check_schema, harmless

_FILE = ".gguf"
"""What the path of a model's file ends with. Only the user may have one loaded: it is outside the sandbox."""

_KNOWN = ("model", "schema", "max_tokens", "sample")


class SubcallError(Exception):
    """A sub-call could not be made or answered. The message is for the model's code.

    Attributes:
        lasting: whether the same prompt, asked again, would fail in the same way.
    """

    def __init__(self, message: str, *, lasting: bool = False) -> None:
        super().__init__(message)
        self.lasting = lasting


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """The options of a sub-call.

    `model` is an id, or empty for the run's sub-model; `schema` what the model is told that the reply must fulfil, and
    `checked` what of that is checked; `max_tokens` the longest reply; `sample` tells apart several replies to the same
    prompt.
    """

    model: str
    schema: Mapping[str, Any] | None
    checked: Mapping[str, Any] | None
    max_tokens: int
    sample: int

    @classmethod
    def read(cls, options: Mapping[str, Any], *, max_tokens: int, known: Collection[str] = _KNOWN) -> PromptOptions:
        """Read what the code gave.

        Raises:
            SubcallError: something is unknown or of the wrong kind.
        """
        given = {key: value for key, value in options.items() if value is not None}
        if unknown := given.keys() - known:
            raise SubcallError(f"There is no option {', '.join(sorted(unknown))}; there are {', '.join(known)}.")
        model, schema = given.get("model", ""), given.get("schema")
        wanted, sample = given.get("max_tokens", max_tokens), given.get("sample", 0)
        if not isinstance(model, str) or model.lower().endswith(_FILE):
            raise SubcallError(f"model must be the id of a model, not {model!r:.100}.")
        if type(wanted) is not int or wanted < 1:
            raise SubcallError(f"max_tokens must be a positive int, not {wanted!r:.100}.")
        if type(sample) is not int:
            raise SubcallError(f"sample must be an int, not {sample!r:.100}.")
        if schema is not None:
            try:
                check_schema(schema)
            except ValueError as error:
                raise SubcallError(str(error)) from None
        return cls(model, schema, harmless(schema), wanted, sample)

    def parameters(self) -> dict[str, Any]:
        """Return what shapes the reply besides model and prompt."""
        return {"schema": self.schema, "max_tokens": self.max_tokens, "sample": self.sample}
