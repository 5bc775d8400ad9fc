"""Whether a prompt and its reply fit the window of the model that is asked."""

from __future__ import annotations

from kowalski_jupyter.rlm.endpoints import Endpoint

_ROUNDED_DOWN = 0.95
"""Of the characters that may fit, since tokens are only estimated."""


def misfit(endpoint: Endpoint, prompt: str, message: str, max_tokens: int) -> str:
    """Return why a prompt cannot be asked, in words for the code that asks, or nothing if it fits.

    Args:
        endpoint: the model.
        prompt: as the code gave it.
        message: as it is sent.
        max_tokens: the longest reply.
    """
    excess = endpoint.excess(message, max_tokens)
    if excess <= 0:
        return ""
    window = endpoint.window or 0
    tokens = window - max_tokens + excess
    added = endpoint.count(message) - endpoint.count(prompt)
    room = window - max_tokens - added
    takes = f"{endpoint.model.name} takes {window:,} tokens, prompt and reply together"
    if room <= 0:
        schema = f" and a schema of {added:,} tokens" if added else ""
        less = (
            f"at most max_tokens={window - tokens:,}"
            if tokens < window
            else "a smaller max_tokens, and a shorter prompt or schema"
        )
        return (
            f"With max_tokens={max_tokens:,}{schema} there is no room for a prompt: {takes}, and that would be "
            f"{excess:,} too many. Use {less}."
        )
    characters = int(len(prompt) * room / (room + excess) * _ROUNDED_DOWN)
    schema = " with its schema" if added else ""
    less = ", or a smaller max_tokens" if max_tokens > window // 2 else ""
    return (
        f"The prompt has about {tokens:,} tokens{schema}, {excess:,} more than fit: {takes}, of which "
        f"{max_tokens:,} are for the reply. Use at most {characters:,} characters of the {len(prompt):,}{less}."
    )
