"""The server extension in a real Jupyter server: the browser's endpoints and the announced socket."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from tornado.httpclient import HTTPClientError
from tornado.websocket import WebSocketClientConnection

from kowalski_jupyter.service.connect import SOCKET_VARIABLE, TOKEN_VARIABLE
from kowalski_jupyter.service.request import RunRequest
from kowalski_jupyter.service.socket.client import ServiceClient
from tests.support.scripted_server import Reply

Fetch = Callable[..., Any]


def ask(question: str) -> str:
    """Run a question to its end through the announced socket, as a kernel would, and return the run's id."""
    client = ServiceClient(os.environ[SOCKET_VARIABLE], os.environ[TOKEN_VARIABLE])
    try:
        assert client.info.host == "jupyter server"
        with client.run(RunRequest(question)) as batches:
            for _ in batches:
                pass
        return str(client.status()["runs"][0]["id"])
    finally:
        client.close()


async def test_a_kernels_run_is_seen_by_the_browser(jp_fetch: Fetch) -> None:
    run = await asyncio.to_thread(ask, "Say hello")
    status = json.loads((await jp_fetch("kowalski", "api", "status")).body)
    document = json.loads((await jp_fetch("kowalski", "api", "runs", run)).body)

    assert [row["question"] for row in status["runs"]] == ["Say hello"]
    assert status["runs"][0]["answer"] == "Hello there."
    assert status["model"]["state"] == "ready"
    assert 0 < status["machine"]["memory_available"] <= status["machine"]["memory_total"]
    assert document["state"] == "done"


async def test_the_events_socket_tells_of_a_run_as_it_goes(jp_ws_fetch: Callable[..., Any]) -> None:
    socket: WebSocketClientConnection = await jp_ws_fetch("kowalski", "api", "events")
    first = json.loads(await socket.read_message() or "")
    await asyncio.to_thread(ask, "Say hello")
    async with asyncio.timeout(60):
        while not (rows := json.loads(await socket.read_message() or "")["runs"]) or rows[0]["state"] != "done":
            pass
    socket.close()

    assert first["runs"] == []
    assert rows[0]["answer"] == "Hello there."


async def test_cancelling_from_the_browser(jp_fetch: Fetch, model_server: Any) -> None:
    model_server.script = lambda _: Reply("word " * 1000, token_delay=0.02)
    asking = asyncio.create_task(asyncio.to_thread(ask, "Say much"))
    async with asyncio.timeout(60):
        while not (runs := json.loads((await jp_fetch("kowalski", "api", "status")).body)["runs"]):  # noqa: ASYNC110 (as a browser asks)
            await asyncio.sleep(0.01)
    answer = await jp_fetch("kowalski", "api", "runs", runs[0]["id"], "cancel", method="POST", body="")
    document = json.loads((await jp_fetch("kowalski", "api", "runs", runs[0]["id"])).body)
    await asking

    assert answer.code == 204
    assert document["state"] == "cancelled"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_unknown_run_is_a_404(jp_fetch: Fetch, method: str) -> None:
    parts = ["kowalski", "api", "runs", "r-none"] + (["cancel"] if method == "POST" else [])
    with pytest.raises(HTTPClientError) as caught:
        await jp_fetch(*parts, method=method, **({"body": ""} if method == "POST" else {}))

    assert caught.value.code == 404


@pytest.mark.parametrize("path", ["status", "runs/r-none", "events"])
async def test_nothing_without_a_login(http_server_client: Any, jp_base_url: str, path: str) -> None:
    with pytest.raises(HTTPClientError) as caught:
        await http_server_client.fetch(f"{jp_base_url}kowalski/api/{path}", follow_redirects=False)

    assert caught.value.code == 403
