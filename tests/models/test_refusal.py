"""What servers say of a prompt that does not fit, and what is read out of it."""

from __future__ import annotations

import json

import pytest

from kowalski_jupyter.models.base import ModelRefusedError, ModelRejectedError, ModelTooLongError
from kowalski_jupyter.models.refusal import refusal
from kowalski_jupyter.models.sse import parse_chunk

LLAMA_CPP = "the request exceeds the available context size, try increasing it"


@pytest.mark.parametrize(
    ("said", "window"),
    [
        ("This model's maximum context length is 2500 tokens. However, your messages resulted in 2943 tokens.", 2500),
        (
            (
                "'max_tokens' or 'max_completion_tokens' is too large: 1024. This model's maximum context length is "
                "2048 tokens and your request has 1500 input tokens (1024 > 2048 - 1500)."
            ),
            2048,
        ),
        ("The decoder prompt (length 5000) is longer than the maximum model length of 4,096.", 4096),
        ("request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it", 4096),
        ("The input (5000 tokens) is longer than the model's context length (4096 tokens).", 4096),
        ("`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens", 4096),
        ("prompt too long; exceeded max context length by 300 tokens", None),
        (LLAMA_CPP, None),
        ("request body too large", None),
    ],
)
@pytest.mark.parametrize("status", [400, 413, 422, 500])
def test_a_window_is_read_where_one_is_stated(said: str, window: int | None, status: int) -> None:
    error = refusal(status, json.dumps({"error": {"message": said}}).encode(), model="m", where="here")

    assert isinstance(error, ModelTooLongError)
    assert error.window == window
    assert error.status == status
    assert "smaller parts" in str(error)


def test_llama_cpp_states_its_window_beside_its_text() -> None:
    body = {"error": {"code": 400, "message": LLAMA_CPP, "n_prompt_tokens": 5000, "n_ctx": 4096}}
    error = refusal(400, json.dumps(body).encode(), model="m", where="here")

    assert isinstance(error, ModelTooLongError)
    assert error.window == 4096


@pytest.mark.parametrize(("status", "kind"), [(400, ModelRejectedError), (500, ModelRefusedError)])
def test_other_refusals_are_not_about_length(status: int, kind: type[ModelRefusedError]) -> None:
    assert type(refusal(status, b"boom", model="m", where="here")) is kind
    assert type(refusal(429, LLAMA_CPP.encode(), model="m", where="here")) is ModelRefusedError


def test_a_refusal_may_come_in_the_stream() -> None:
    said = "Trying to keep the first 4994 tokens. However, the model is loaded with context length of only 4096 tokens."

    with pytest.raises(ModelTooLongError) as raised:
        parse_chunk(json.dumps({"error": {"message": said}}).encode())
    assert raised.value.window == 4096
