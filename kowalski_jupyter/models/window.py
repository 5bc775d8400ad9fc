"""Reads of a model's context window in what servers say of a prompt that does not fit it."""

from __future__ import annotations

import re

from kowalski_jupyter.models.base import ModelTooLongError

_TOO_LONG = re.compile(r"context|too long|too large|too many tokens|exceed|maximum.*(tokens|length)", re.IGNORECASE)
_STATED = re.compile(
    r"(?:context|model) (?:length|size|window)(?! by)\D{0,20}?(\d[\d,]*)"  # vLLM, llama.cpp, SGLang, LM Studio
    r"|n_ctx\W{0,4}(\d+)"  # llama.cpp, beside its text
    r"|max_new_tokens\W+must be <= (\d+)",  # TGI
    re.IGNORECASE,
)


def is_too_long(said: str) -> bool:
    """Return whether a server that refused a request may have meant that its prompt is too long."""
    return (_TOO_LONG.search(said) or _STATED.search(said)) is not None


def stated_window(said: str) -> int | None:
    """Return the window that a refusal states, in tokens, or None."""
    found = _STATED.search(said)
    return int(found[found.lastindex or 0].replace(",", "")) or None if found else None


def too_long(what: str, window: int | None) -> ModelTooLongError:
    """Make the error for a prompt that does not fit, after `what` happened."""
    return ModelTooLongError(
        f"{what}. The prompt does not fit the model's window: ask about smaller parts of it.", what, window
    )
