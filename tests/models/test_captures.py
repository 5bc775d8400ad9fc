"""What a real exo sent, replayed byte by byte: what is a reply, and what only looks like one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kowalski_jupyter.models.base import Delta, ModelCutOffError, ModelRefusedError, ModelStalledError, Usage
from kowalski_jupyter.models.reply import Clocks
from tests.support.asking import ask, text


@pytest.mark.parametrize("piece", [1, 7, 1 << 16])
def test_a_stream_is_read_whatever_the_pieces(replay: Callable[..., str], piece: int) -> None:
    deltas = ask(replay("chat-stream.http", piece=piece), kind="exo")
    assert text(deltas) == "The capital of France is Paris."
    assert deltas[0] == Delta()  # it reads the prompt
    assert [delta.finish_reason for delta in deltas if delta != Delta()] == [None] * 7 + ["stop"]
    assert deltas[-1].usage == Usage(37, 8, 0)


@pytest.mark.parametrize(
    ("capture", "expected", "reason"),
    [
        ("chat-stream-length.http", "The past few years have", "length"),
        ("request-while-loading.http", "SmolLM.", "length"),
        ("chat-stop.http", "SmolLM.123", "stop"),
        ("chat-nonstream.http", "The capital of France is Paris.", "stop"),
        ("chat-logprobs.http", "Smol", "length"),
        ("reasoning.stream.txt", "Paris.", "stop"),
        ("toolcall.stream.txt", 'I will call.{"city": "Paris"}{"tz": "CET"}', "tool_calls"),
    ],
)
def test_whole_replies(replay: Callable[..., str], capture: str, expected: str, reason: str | None) -> None:
    deltas = ask(replay(capture), kind="exo")
    assert text(deltas) == expected
    assert deltas[-1].finish_reason == reason
    assert deltas[-1].usage


def test_thoughts_are_kept_apart(replay: Callable[..., str]) -> None:
    deltas = ask(replay("reasoning.stream.txt"), kind="exo")
    assert "".join(delta.reasoning for delta in deltas) == "Let me think."
    assert deltas[-1].usage == Usage(30, 12, 4)


@pytest.mark.parametrize("piece", [1, 1 << 16])
@pytest.mark.parametrize(
    ("capture", "error", "words"),
    [
        ("runner-killed-midstream.http", ModelRefusedError, "Runner shutdown before completing"),
        ("chat-tensor3-stream.http", ModelRefusedError, "Runner shutdown before completing"),
        ("error-after-tokens.stream.txt", ModelRefusedError, "Runner shutdown before completing"),
        ("err-empty-messages-stream.http", ModelRefusedError, "list index out of range"),
        ("debug-prompt-fail.http", ModelRefusedError, "while answering"),
        ("instance-deleted-midstream.http", ModelCutOffError, "only a part of the reply"),
        ("sigterm-midstream.http", ModelCutOffError, "only a part of the reply"),
        ("cancel-midstream.http", ModelCutOffError, "only a part of the reply"),
        ("member-node-killed-midstream.http", ModelCutOffError, "only a part of the reply"),
        ("runner-killed-nonstream.http", ModelCutOffError, "an empty reply"),
        ("err-known-model-no-instance.http", ModelRefusedError, "No instance found for model"),
        ("err-wrong-type.http", ModelRefusedError, "body.messages: Input should be a valid list"),
        ("err-malformed-json.http", ModelRefusedError, "JSON decode error"),
        ("err-404-path.http", ModelRefusedError, "Not Found"),
    ],
)
def test_what_is_no_reply(
    replay: Callable[..., str], capture: str, error: type[Exception], words: str, piece: int
) -> None:
    with pytest.raises(error, match=words):
        ask(replay(capture, piece=piece), kind="exo")


def test_a_lost_master_leaves_only_keep_alives(replay: Callable[..., str]) -> None:
    url = replay("master-killed-midstream-via-member.http", hold=True)
    with pytest.raises(ModelStalledError, match="in the middle of a reply"):
        ask(url, kind="exo", clocks=Clocks(between=0.2))
