"""Steering from the browser, over a real Jupyter server: what is taken, what is refused and with which words."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import HTTPClientError

from kowalski_jupyter.kernels.pack import pack
from kowalski_jupyter.service.connect import SOCKET_VARIABLE, TOKEN_VARIABLE
from kowalski_jupyter.service.request import RunRequest
from kowalski_jupyter.service.socket.client import ServiceClient
from tests.support.scripted_server import Request, ScriptedServer

Fetch = Callable[..., Any]

ANSWER = "FINAL(done)"
BLOCK = "```python\nprint(6 * 7)\n```"


class Browser:
    """The browser's end of one run."""

    def __init__(self, fetch: Fetch, run: str) -> None:
        self._fetch = fetch
        self.run = run

    async def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((await self._fetch("kowalski", "api", "runs", self.run)).body)
        return document

    async def until(self, holds: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Return the run's document as soon as `holds` of it."""
        async with asyncio.timeout(60):
            while not holds(document := await self.document()):  # noqa: ASYNC110 (as a browser asks)
                await asyncio.sleep(0.01)
        return document

    async def steer(self, wanted: object) -> int:
        """Return the status of the answer. Raises `HTTPClientError` where that is no success."""
        body = wanted if isinstance(wanted, str) else json.dumps(wanted)
        response = await self._fetch("kowalski", "api", "runs", self.run, "steer", method="POST", body=body)
        return int(response.code)

    async def refused(self, wanted: object) -> str:
        """Return the words of a refusal."""
        with pytest.raises(HTTPClientError) as caught:
            await self.steer(wanted)
        assert caught.value.code == 400
        assert caught.value.response is not None
        return str(json.loads(caught.value.response.body)["error"])


@asynccontextmanager
async def going_on(fetch: Fetch, **options: Any) -> AsyncIterator[Browser]:
    """Start a run through the announced socket, as a kernel would, and end it if it still goes on."""

    def follow() -> None:
        client = ServiceClient(os.environ[SOCKET_VARIABLE], os.environ[TOKEN_VARIABLE])
        folder = Path(client.info.data_root) / "pack-steering"
        folder.mkdir(parents=True)
        request = RunRequest("What is it?", (pack("notes", ["a", "b"], folder),), options)
        try:
            with client.run(request) as batches:
                for _ in batches:
                    pass
        finally:
            client.close()

    following = asyncio.create_task(asyncio.to_thread(follow))
    async with asyncio.timeout(60):
        while not (runs := json.loads((await fetch("kowalski", "api", "status")).body)["runs"]):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    browser = Browser(fetch, runs[0]["id"])
    try:
        yield browser
    finally:
        await fetch("kowalski", "api", "runs", browser.run, "cancel", method="POST", body="")
        await following


@pytest.mark.parametrize(
    ("decision", "code", "printed"),
    [("run", "", "42\n"), ("edit", "print('mine')", "mine\n"), ("skip", "", None)],
)
async def test_the_word_that_a_block_waits_for(
    jp_fetch: Fetch, model_server: ScriptedServer, decision: str, code: str, printed: str | None
) -> None:
    model_server.script = lambda request: BLOCK if request.number == 1 else ANSWER
    async with going_on(jp_fetch, step=True) as browser:
        waiting = await browser.until(lambda document: document["approval"])
        refusal = await browser.refused({"decide": decision, "cell": "9.9", "code": code})
        taken = await browser.steer({"decide": decision, "cell": waiting["approval"]["cell"], "code": code})
        document = await browser.until(lambda document: document["approval"] not in (None, waiting["approval"]))

    cell = next(part for part in document["turns"][0]["parts"] if part["kind"] == "cell")
    assert waiting["approval"] == {"cell": "1.1", "language": "python", "code": "print(6 * 7)"}
    assert "No block waits" in refusal
    assert taken == 204
    assert [output["text"] for output in cell["outputs"] if output["kind"] == "stdout"] == (
        [printed] if printed else []
    )


async def test_a_note_reaches_the_model_and_limits_rise(jp_fetch: Fetch, model_server: ScriptedServer) -> None:
    model_server.script = lambda request: BLOCK if request.number == 1 else ANSWER
    async with going_on(jp_fetch, step=True, max_turns=3) as browser:
        await browser.until(lambda document: document["approval"])
        assert await browser.steer({"tell": "  Only those of May count.  "}) == 204
        assert await browser.steer({"limits": {"max_turns": 7, "max_seconds": 2000.5}}) == 204
        too_low = await browser.refused({"limits": {"max_turns": 5}})
        await browser.steer({"decide": "run"})
        await browser.until(lambda document: (document["approval"] or {}).get("cell") == "2.1")
        await browser.steer({"decide": "run", "cell": "2.1"})
        document = await browser.until(lambda document: document["state"] == "done")
        ended = await browser.refused({"tell": "Too late."})

    told: list[Request] = [
        request for request in model_server.requests if "Only those of May count." in str(request.payload)
    ]
    assert [request.number for request in told] == [2]
    assert "You added: Only those of May count." in document["notices"]
    assert "The limit of turns is 7 already" in too_low
    assert "has ended" in ended
    assert "--turn N" in ended


REFUSED: list[tuple[object, str]] = [
    ("{", "not JSON"),
    ("[" * 100_000, "not JSON"),
    ([], "not a JSON object"),
    ({}, "one of"),
    ({"tell": "a", "decide": "run"}, "one of"),
    ({"tell": 3}, "must be text"),
    ({"tell": " "}, "empty"),
    ({"tell": "x" * 10_001}, "at most 10,000"),
    ({"limits": {}}, "which limits"),
    ({"limits": 3}, "which limits"),
    ({"limits": {"max_turns": True}}, "must be a number"),
    ({"limits": {"max_turns": "9"}}, "must be a number"),
    ({"limits": {"max_turns": 20.5}}, "whole number"),
    ('{"limits": {"max_seconds": NaN}}', "must be a number"),
    ('{"limits": {"max_seconds": 1e999}}', "must be a number"),
    ({"limits": {"max_wishes": 9}}, "no limit 'max_wishes'"),
    ({"decide": "burn", "cell": "1.1"}, "run, edit, skip"),
    ({"decide": ["run"], "cell": "1.1"}, "run, edit, skip"),
    ({"decide": "edit", "cell": "1.1", "code": " "}, "needs the code"),
    ({"decide": "edit", "cell": "1.1", "code": "x" * 100_001}, "at most 100,000"),
    ({"judge": ""}, "No answer waits"),
    ({"judge": None}, "must be text"),
    ({"judge": "", "cell": "1.1"}, "one of"),
    ({"tell": "x" * (1 << 20)}, "too much"),
]


async def test_what_is_wrong_is_refused_in_words(jp_fetch: Fetch, model_server: ScriptedServer) -> None:
    model_server.script = lambda _: BLOCK
    async with going_on(jp_fetch, step=True) as browser:
        await browser.until(lambda document: document["approval"])
        said = [(await browser.refused(wanted), words) for wanted, words in REFUSED]
        document = await browser.document()

    assert [words for refusal, words in said if words not in refusal] == []
    assert document["approval"] is not None
    assert document["notices"] == []


async def test_an_unknown_run_is_a_404(jp_fetch: Fetch) -> None:
    with pytest.raises(HTTPClientError) as caught:
        await Browser(jp_fetch, "r-none").steer({"tell": "Hello"})

    assert caught.value.code == 404


async def test_nothing_without_a_login(http_server_client: Any, jp_base_url: str) -> None:
    with pytest.raises(HTTPClientError) as caught:
        await http_server_client.fetch(
            f"{jp_base_url}kowalski/api/runs/r-none/steer", method="POST", body="{}", follow_redirects=False
        )

    assert caught.value.code == 403
