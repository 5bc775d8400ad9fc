"""Finding a model: which server is taken, which is passed over, and in what words."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from kowalski_jupyter.models.base import ChatModel, ModelError, ModelRefusedError, ModelUnreachableError
from kowalski_jupyter.models.discover import ModelSettings, find_model, survey
from tests.support.asking import collect, text
from tests.support.scripted_server import ScriptedServer

CAPTURES = Path(__file__).parent / "captures"
SMOL = "mlx-community/SmolLM2-135M-Instruct"


def free_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def exo(state: str | dict[str, Any]) -> ScriptedServer:
    """exo as it answers, with the `/state` of a capture."""
    parts = json.loads((CAPTURES / state).read_text()) if isinstance(state, str) else state
    routes = {"/node_id": "91f9980f7ee10f2c490002452b049bbb", "/state": parts}
    routes |= {f"/state/{key}": parts[key] for key in ("instances", "runners") if key in parts}
    return ScriptedServer(["from exo"], models=[{"id": SMOL, "owned_by": "exo"}], routes=routes)


def ollama(tags: list[Any], **routes: Any) -> ScriptedServer:
    paths = {f"/api/{name}": answer for name, answer in routes.items()}
    return ScriptedServer(
        ["from ollama"], routes={"/api/version": {"version": "0.9"}, "/api/tags": {"models": tags}} | paths
    )


def settings(**given: Any) -> ModelSettings:
    return ModelSettings(**({"exo_url": free_url(), "ollama_url": free_url(), "embedded": False} | given))


def find(given: ModelSettings) -> tuple[dict[str, Any], list[str]]:
    """What was found and reported, and a question to it."""
    reports: list[str] = []

    async def run() -> dict[str, Any]:
        model: ChatModel = await find_model(given, lambda said, *_: reports.append(said))
        reply = text(await collect(model))
        await model.aclose()
        return {"name": model.name, "where": model.where, "context": model.context_tokens, "width": model.width} | {
            "reply": reply
        }

    return asyncio.run(run()), reports


def test_exo_with_a_ready_instance() -> None:
    with exo("state-two-replicas.json") as server:
        found, reports = find(settings(exo_url=server.url))
        assert found == {
            "name": SMOL,
            "where": f"exo at 127.0.0.1:{server.port}",
            "context": 8192,
            "width": 16,
            "reply": "from exo",
        }
        assert reports == []


def test_exo_that_is_still_loading_is_passed_over_in_words() -> None:
    with exo("state-running.json") as server, ollama([{"name": "m"}]) as other:
        found, reports = find(settings(exo_url=server.url, ollama_url=other.url))
        assert found["name"] == "m"
        assert reports == [f"exo at 127.0.0.1:{server.port} is not used: {SMOL} is still being loaded"]


def test_exo_that_was_asked_for_by_address_may_be_loading() -> None:
    with exo("state-running.json") as server:
        assert find(settings(url=server.url))[0]["width"] == 8


@pytest.mark.parametrize("state", [{"instances": {}, "runners": {}}, {}, {"instances": {"i": None, "j": {"New": 5}}}])
def test_exo_without_a_model(state: dict[str, Any]) -> None:
    with exo(state) as server, pytest.raises(ModelError, match=r"no model is loaded.*curl .*/place_instance"):
        find(settings(exo_url=server.url))


def test_exo_before_it_had_parts_of_its_state() -> None:
    with exo("state-two-replicas.json") as server:
        del server.routes["/state/instances"]
        assert find(settings(exo_url=server.url))[0]["name"] == SMOL


def test_what_only_looks_like_exo() -> None:
    routes = {"/node_id": "abc", "/state/instances": {}}
    with ScriptedServer(["x"], routes=routes) as server, pytest.raises(ModelError, match=r"exo at .*not running"):
        find(settings(exo_url=server.url))


def test_ollama_prefers_a_model_for_code_to_a_large_one() -> None:
    tags = [
        {"name": "llama3:70b", "size": 40},
        {"name": "qwen2.5-coder:7b", "size": 5},
        {"name": "qwen2.5-coder:1.5b", "size": 1},
        {"name": "nomic-embed-text", "size": 99},
        {"name": "some-bert", "size": 99, "details": {"family": "nomic-bert"}},
        {"nothing": 1},
    ]
    with ollama(tags) as server:
        found, _ = find(settings(ollama_url=server.url))
        assert (found["name"], found["reply"]) == ("qwen2.5-coder:7b", "from ollama")
        assert find(settings(ollama_url=server.url, model="llama3:70b"))[0]["name"] == "llama3:70b"
    with ollama(tags[:1] + tags[3:]) as server:
        assert find(settings(ollama_url=server.url))[0]["name"] == "llama3:70b"
        with pytest.raises(ModelError, match=r"does not have mistral.*ollama pull mistral"):
            find(settings(ollama_url=server.url, model="mistral"))
    with ollama(tags[3:]) as server, pytest.raises(ModelError, match="ollama pull"):
        find(settings(ollama_url=server.url))


@pytest.mark.parametrize(
    ("routes", "context"),
    [
        ({}, 4096),
        ({"show": {"model_info": {"qwen2.context_length": 32768}}}, 4096),
        ({"show": {"model_info": {"bert.context_length": 512}}}, 512),
        ({"show": {"parameters": "stop x\nnum_ctx   16384", "model_info": {"qwen2.context_length": 32768}}}, 16384),
        ({"show": {"parameters": "num_ctx 65536", "model_info": {"qwen2.context_length": 32768}}}, 32768),
        ({"ps": {"models": [{"name": "m:latest", "context_length": 12000}]}}, 12000),
        ({"ps": {"models": [{"name": "other", "context_length": 12000}]}, "show": None}, 4096),
    ],
)
def test_ollamas_window_is_what_it_will_serve(routes: dict[str, Any], context: int) -> None:
    with ollama([{"name": "m:latest"}], **routes) as server:
        assert find(settings(ollama_url=server.url, model="m"))[0]["context"] == context


def test_exo_goes_before_ollama() -> None:
    with exo("state-two-replicas.json") as first, ollama([{"name": "m"}]) as second:
        found, _ = find(settings(exo_url=first.url, ollama_url=second.url))
        assert found["reply"] == "from exo"
        assert not second.requests


def test_an_address_that_was_given_is_the_only_one_asked() -> None:
    with ScriptedServer(["given"], models=["only"]) as given, exo("state-two-replicas.json") as local:
        found, _ = find(settings(url=given.url, api_key="k", exo_url=local.url))
        assert found == {
            "name": "only",
            "where": f"127.0.0.1:{given.port}",
            "context": None,
            "width": 32,
            "reply": "given",
        }
        assert given.requests[0].headers["authorization"] == "Bearer k"
        assert not local.gets


def test_keys_are_not_shown_nor_sent_to_servers_nobody_named() -> None:
    assert "sekret" not in repr(ModelSettings(api_key="sekret"))
    with exo("state-two-replicas.json") as server:
        find(settings(exo_url=server.url, api_key="sekret"))
        assert "authorization" not in server.requests[0].headers


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOWALSKI_API_KEY", "k")
    assert ModelSettings().api_key == "k"


def test_llama_cpp_tells_its_window_and_slots() -> None:
    routes = {"/props": {"default_generation_settings": {"n_ctx": 2048}, "total_slots": 3}}
    models = [{"id": "m", "meta": {"n_ctx_train": 131072}}]
    with ScriptedServer(["x"], models=models, routes=routes) as server:
        found, _ = find(settings(url=server.url))
        assert (found["where"], found["context"], found["width"]) == (f"llama.cpp at 127.0.0.1:{server.port}", 2048, 3)


@pytest.mark.parametrize("key", ["max_model_len", "context_length"])
def test_other_servers_windows(key: str) -> None:
    with ScriptedServer(["x"], models=[{"id": "m", key: 1000}]) as server:
        assert find(settings(url=server.url))[0]["context"] == 1000


def test_which_of_several_models() -> None:
    with ScriptedServer(["x"], models=["a", "b"]) as server:
        assert find(settings(url=server.url, model="b"))[0]["name"] == "b"
        with pytest.raises(ModelRefusedError, match=r"has 2 models.*KOWALSKI_MODEL to one of: a, b"):
            find(settings(url=server.url))
        with pytest.raises(ModelRefusedError, match=r"does not have c.*KOWALSKI_MODEL to one of: a, b"):
            find(settings(url=server.url, model="c"))


def test_a_server_that_lists_nothing_is_believed_if_a_model_is_named() -> None:
    with ScriptedServer(["x"], routes={"/v1/models": (404, {"detail": "Not Found"})}) as server:
        assert find(settings(url=server.url, model="m"))[0]["name"] == "m"
        with pytest.raises(ModelRefusedError, match="does not say which models"):
            find(settings(url=server.url))


def test_a_server_that_wants_a_key() -> None:
    with (
        ScriptedServer(["x"], routes={"/v1/models": (401, {"error": "no"})}) as server,
        pytest.raises(ModelRefusedError, match="KOWALSKI_API_KEY"),
    ):
        find(settings(url=server.url))


def test_nothing_answers_at_the_given_address() -> None:
    with pytest.raises(ModelUnreachableError, match="KOWALSKI_URL"):
        find(settings(url=free_url()))


@pytest.mark.parametrize("url", ["ftp://host", "http://", "http://host:port", "::"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ModelError, match="is not the address"):
        find(settings(url=url))


def test_when_there_is_nothing_everything_that_was_tried_is_said() -> None:
    with pytest.raises(ModelError) as raised:
        find(settings())
    for words in ("KOWALSKI_URL", "exo at", "Ollama at", "ollama serve", "this machine (embedded)"):
        assert words in str(raised.value)


def test_a_server_that_hangs_does_not_hold_up_the_survey() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        found = asyncio.run(survey(settings(exo_url=url, ollama_url=url)))
    assert [each.there for each in found] == [False, False, False]


def test_the_survey_has_a_command_for_everything_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kowalski_jupyter.models.embedded.server.missing", lambda: "xllamacpp is not installed")
    found = asyncio.run(survey(settings(embedded=True)))
    assert [each.name for each in found] == ["exo", "Ollama", "embedded"]
    assert all(each.fix and not each.ready for each in found)
    assert found[2].fix == "pip install 'kowalski-jupyter[embedded]'"
