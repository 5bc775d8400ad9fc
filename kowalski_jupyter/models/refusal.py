"""Turns a server's error response into words: what it said, and what to do next."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from kowalski_jupyter.models.base import ModelBusyError, ModelRefusedError, ModelRejectedError
from kowalski_jupyter.models.sse import error_text
from kowalski_jupyter.models.window import is_too_long, stated_window, too_long

BUSY: Final = frozenset({429, 503})
"""Statuses of a server that may have room later."""

_AT_FAULT: Final = frozenset({400, 401, 403, 413, 422})
"""Statuses that are about the request, and not about the server."""

_TOO_LONG: Final = frozenset({400, 413, 422, 500})
"""Statuses that servers have for a prompt that is too long."""

_LONGEST = 500


def refusal(
    status: int,
    body: bytes,
    *,
    model: str,
    where: str,
    available: Sequence[str] = (),
    secret: str | None = None,
    after: float | None = None,
) -> ModelRefusedError:
    """Make the error for a response other than 200.

    Args:
        status: the HTTP status.
        body: JSON of one of the usual shapes, or anything else.
        model: the id that was asked for.
        where: the server, in words.
        available: the models that the server has, where that may help.
        secret: the API key; servers like to quote it back.
        after: seconds after which a busy server wants to be asked again; None for one that is not, or not soon.
    """
    said = _said(body)
    if secret:
        said = said.replace(secret, "…")
    quoted = f": {said}" if said else ""
    what = f"{where} refused the request ({status}{quoted})"
    error: ModelRefusedError
    if after is not None:
        error = ModelBusyError(f"{what}. {_advice(status, said, model=model, available=available)}", after)
    elif status in _TOO_LONG and is_too_long(said):
        error = too_long(what, stated_window(body.decode("utf-8", "replace")))
    else:
        kind = ModelRejectedError if status in _AT_FAULT else ModelRefusedError
        error = kind(f"{what}. {_advice(status, said, model=model, available=available)}")
    error.status = status
    return error


def retry_after(header: str) -> float | None:
    """Seconds to wait by a ``Retry-After`` header, in either of its two forms; None if it is in neither."""
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _said(body: bytes) -> str:
    text = body.decode("utf-8", "replace").strip()
    try:
        said = error_text(json.loads(text))
    except (ValueError, RecursionError):
        said = "" if text.startswith("<") else text
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"


def _advice(status: int, said: str, *, model: str, available: Sequence[str]) -> str:
    if available and (status == 404 or (status == 400 and "model" in said)):  # noqa: PLR2004 - not found
        if model in available:
            return "The server has the model all the same: run again."
        return f"It has no model {model!r} ready, but {', '.join(available)}: set KOWALSKI_MODEL to one of them."
    if status >= 500 and status not in _ADVICE:  # noqa: PLR2004 - the class of server errors
        return "The fault is at the server: look at its log, then run again."
    return _ADVICE.get(status, "See that KOWALSKI_URL and KOWALSKI_MODEL are what you meant.")


_ADVICE: Final = {
    401: "Set KOWALSKI_API_KEY to a key that this server accepts.",
    403: "Set KOWALSKI_API_KEY to a key that this server accepts.",
    404: "See that KOWALSKI_URL is an OpenAI-compatible server's base URL, and that a model is loaded there.",
    405: "See that KOWALSKI_URL is an OpenAI-compatible server's base URL, and that a model is loaded there.",
    429: "It is busy: wait a little, then run again.",
    503: "It is busy or still loading: wait a little, then run again.",
}
