"""A reply without what its model only thought."""

from __future__ import annotations

from kowalski_jupyter.rlm.protocol.stream import MARK_START, ReplyStream, Segment


def strip_thoughts(text: str) -> str:
    """Return the reply as it was written, or, where it holds thoughts, what is left without them."""
    if not MARK_START.search(text):
        return text
    stream = ReplyStream()
    stream.feed(text)
    stream.finish()
    segments = stream.segments
    if all(segment.kind != "thought" for segment in segments):
        return text
    return "\n\n".join(as_markdown(segment) for segment in segments if segment.kind != "thought")


def as_markdown(segment: Segment) -> str:
    """Return a segment as it stands in a reply: prose as it is, code in a fence."""
    return f"```{segment.tag}\n{segment.text}\n```" if segment.kind == "code" else segment.text
