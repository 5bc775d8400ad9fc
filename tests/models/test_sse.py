"""The decoder: streams cut anywhere, and every liberty that servers take."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kowalski_jupyter.models import sse
from kowalski_jupyter.models.base import ModelCutOffError, ModelError, ModelRefusedError, Usage
from kowalski_jupyter.models.sse import EventDecoder, error_text, parse_chunk


def decode(data: bytes, piece: int) -> list[bytes]:
    decoder = EventDecoder()
    events = [event for at in range(0, len(data), piece) for event in decoder.feed(data[at : at + piece])]
    return [*events, *decoder.finish()]


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data: a\r\n\r\ndata:b\r\n\r\n", [b"a", b"b"]),
        (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
        (b"data: a\r\ndata: b\r\n\r\n", [b"a\nb"]),
        (b": keep-alive\n\ndata: a\n\n: done\n", [b": keep-alive", b"a", b": done"]),
        (b"event: x\nid: 1\nretry: 3\ndata: a\n\n", [b"a"]),
        (b"data: a\ndata:\ndata: b\n\n", [b"a\n\nb"]),
        (b"data: no empty line at the end", [b"no empty line at the end"]),
        (b"\n\n\n", []),
        (b"", []),
        (b'error: {"message": "old"}\n\n', [b'{"error": {"message": "old"}}']),
        ("data: \u2028é\n\n".encode(), ["\u2028é".encode()]),
    ],
)
def test_events(stream: bytes, events: list[bytes], piece: int) -> None:
    assert decode(stream, piece) == events


def test_a_huge_line_is_read_and_an_endless_one_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decode(b"data: " + b"x" * 3_000_000 + b"\n\n", 65536) == [b"x" * 3_000_000]
    monkeypatch.setattr(sse, "MAX_LINE", 1000)
    with pytest.raises(ModelError, match="no chat completion"):
        decode(b"data: " + b"x" * 5000, 100)


def chunk(delta: Any = None, **more: Any) -> bytes:
    return json.dumps({"choices": [{"index": 0, "delta": delta, **more}]}).encode()


@pytest.mark.parametrize(
    ("data", "text", "reasoning"),
    [
        (chunk({"content": "a"}), "a", ""),
        (chunk({"content": None, "role": None, "tool_calls": None, "reasoning_content": None}), "", ""),
        (chunk(None), "", ""),
        (chunk({"content": [{"type": "text", "text": "a"}, "b", None, {"type": "image_url"}, 7]}), "ab", ""),
        (chunk({"content": {"text": "a"}}), "", ""),
        (chunk({"reasoning_content": "r"}), "", "r"),
        (chunk({"reasoning": "r"}), "", "r"),
        (chunk({"tool_calls": [{"function": {"arguments": "{}"}}, {"function": None}, None]}), "{}", ""),
        (b'{"choices": []}', "", ""),
        (b'{"choices": null, "something": "new"}', "", ""),
        (b'{"choices": [null]}', "", ""),
        (b'{"choices": {"0": 1}}', "", ""),
        (b'{"choices": [{"message": {"content": "whole"}}]}', "whole", ""),
        (b"{}", "", ""),
    ],
)
def test_chunks(data: bytes, text: str, reasoning: str) -> None:
    delta = parse_chunk(data)
    assert (delta.text, delta.reasoning) == (text, reasoning)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, None),
        ([], None),
        ({}, Usage(0, 0, 0)),
        ({"prompt_tokens": 5, "completion_tokens": None}, Usage(5, 0, 0)),
        ({"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": None}, Usage(5, 2, 0)),
        ({"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}}, Usage(5, 2, 3)),
        ({"prompt_tokens": "many"}, Usage(0, 0, 0)),
    ],
)
def test_usage(usage: Any, expected: Usage | None) -> None:
    assert parse_chunk(json.dumps({"usage": usage}).encode()).usage == expected


@pytest.mark.parametrize("data", [b"", b"{", b"null", b"[]", b"\xff\xfe", b'"text"', b"[" * 100_000])
def test_what_is_no_json_object(data: bytes) -> None:
    with pytest.raises(ModelCutOffError, match="not JSON"):
        parse_chunk(data)


def test_an_error_in_the_stream() -> None:
    with pytest.raises(ModelRefusedError, match="out of memory"):
        parse_chunk(b'{"error": {"message": "out of memory", "code": 500}}')
    with pytest.raises(ModelRefusedError, match="no reason given"):
        parse_chunk(b'{"error": {"code": 500}}')


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"error": {"message": "a.", "type": "Not Found"}}, "a"),
        ({"error": "a"}, "a"),
        ({"detail": "a"}, "a"),
        ({"detail": [{"loc": ["body", 0], "msg": "bad"}, "?"]}, "body.0: bad"),
        ({"message": "a"}, "a"),
        ({"error": 5}, ""),
        ({"error": {"message": ["a"]}}, ""),
        ([], ""),
        (None, ""),
    ],
)
def test_error_bodies(body: Any, text: str) -> None:
    assert error_text(body) == text
