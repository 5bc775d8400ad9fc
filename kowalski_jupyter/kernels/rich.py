"""Pictures and tables that code shows: checked, cleaned and described. What a kernel sends is a stranger's.

Whoever shows them does so within the user's own page. So pictures are shown as pictures, in which nothing runs and
which fetch nothing, and of HTML only its structure and its text are left.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable, Mapping
from typing import Any

import nh3

from .base import Rich
from .prelude.limits import RICH

_TAGS = {
    *("table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td", "colgroup", "col"),
    *("p", "br", "hr", "div", "span", "pre", "code", "blockquote", "ul", "ol", "li", "dl", "dt", "dd"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "b", "strong", "i", "em", "u", "s", "sub", "sup", "small", "mark"),
}
_ATTRIBUTES = {name: {"colspan", "rowspan", "scope"} for name in ("th", "td")}


def rich_of(bundle: Mapping[str, Any]) -> tuple[Rich | None, str]:
    """Return the best form that a MIME bundle has, and what it is, in words for the model ("" for HTML)."""
    for mime, read in _READERS.items():
        data = bundle.get(mime)
        if isinstance(data, list):  # lines, as in a notebook's file
            data = "".join(map(str, data))
        if isinstance(data, str) and 0 < len(data) <= RICH and (found := read(data)) is not None:
            return found
    return None, ""


def _png(data: str) -> tuple[Rich, str] | None:
    picture = _decoded(data)
    if picture is None or picture[:8] != b"\x89PNG\r\n\x1a\n" or picture[12:16] != b"IHDR" or len(picture) < 24:  # noqa: PLR2004
        return None
    width, height = struct.unpack(">II", picture[16:24])
    return _picture("image/png", picture, f"{width} × {height} pixels")  # noqa: RUF001 - it is a times sign


def _jpeg(data: str) -> tuple[Rich, str] | None:
    picture = _decoded(data)
    return None if picture is None or picture[:3] != b"\xff\xd8\xff" else _picture("image/jpeg", picture, "JPEG")


def _svg(data: str) -> tuple[Rich, str] | None:
    return _picture("image/svg+xml", data.encode("utf-8", "replace"), "SVG") if "<svg" in data else None


def _html(data: str) -> tuple[Rich, str] | None:
    clean = nh3.clean(
        data,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        clean_content_tags={"script", "style", "title", "template"},
        url_schemes=set(),
        link_rel=None,
    ).strip()
    return (Rich("text/html", clean), "") if clean else None


def _picture(mime: Any, picture: bytes, what: str) -> tuple[Rich, str]:
    return Rich(mime, base64.b64encode(picture).decode()), f"[picture: {what}, shown to the user]"


def _decoded(data: str) -> bytes | None:
    try:
        return base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        return None


_READERS: Mapping[str, Callable[[str], tuple[Rich, str] | None]] = {
    "image/png": _png,
    "image/jpeg": _jpeg,
    "image/svg+xml": _svg,
    "text/html": _html,
}
"""The forms, best first, each with what reads it: returns None if it is not what it says."""
