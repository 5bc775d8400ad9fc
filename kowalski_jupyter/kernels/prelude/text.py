"""Text that can be sent anywhere."""

from __future__ import annotations


def valid(text: str) -> str:
    r"""Return `text` with lone surrogates, which no encoding takes, written as ``\udc80``."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
