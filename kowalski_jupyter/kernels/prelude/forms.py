"""Errors for a function that was called in a form that it does not have."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any


def with_form(
    function: Callable[..., Any], name: str, then: Callable[[Any], Any] = lambda result: result
) -> Callable[..., Any]:
    """Return `function`, called `name`, with the right form in the TypeError for wrong arguments.

    Its result goes through `then`.
    """

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        try:
            result = function(*arguments, **options)
        except TypeError:
            form = _form(function)
            try:
                form.bind(*arguments, **options)
            except TypeError as wrong:
                raise TypeError(f"{wrong}. The form is {name}{form}") from None
            raise
        return then(result)

    call.__name__ = call.__qualname__ = name
    return call


def _form(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of `function` as a user writes it: without types."""
    found = inspect.signature(function)
    parameters = [parameter.replace(annotation=parameter.empty) for parameter in found.parameters.values()]
    return found.replace(parameters=parameters, return_annotation=found.empty)
