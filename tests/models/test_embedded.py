"""The embedded model for real: its process, its cache of prompts, its end."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from kowalski_jupyter.models.base import Message, ModelError, ModelRefusedError, ModelUnreachableError, Sampling
from kowalski_jupyter.models.embedded import server
from kowalski_jupyter.models.embedded.server import EmbeddedModel, start_embedded
from kowalski_jupyter.models.embedded.weights import present
from kowalski_jupyter.models.openai import OpenAIModel
from tests.support.asking import collect, text

needs_model = pytest.mark.skipif(
    present() is None or server.missing() is not None,
    reason="the embedded model's file is not in the cache, or xllamacpp is not installed",
)

PARENT = """
import asyncio, sys
from kowalski_jupyter.models.embedded.server import start_embedded
async def main():
    model = await start_embedded(lambda text, *_: print(text, file=sys.stderr))
    print(model._process.pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


def nothing(*_: object) -> None:
    pass


@needs_model
@pytest.mark.embedded
def test_what_was_read_once_is_not_read_again_by_the_next_process(tmp_path: Path) -> None:
    opening = [Message("system", "You answer in one word. " * 10)]
    reports: list[str] = []

    async def start() -> int:
        model = await start_embedded(lambda said, *_: reports.append(said), readings=tmp_path / "readings")
        try:
            await model.read_ahead(opening, lambda said, *_: reports.append(said))
            reply = await collect(model, [*opening, Message("user", "Sky?")], max_tokens=1)
        finally:
            await model.aclose()
        usage = reply[-1].usage
        assert usage is not None
        return usage.prompt_tokens - usage.cached_tokens

    unread = [asyncio.run(start()) for _ in range(2)]

    assert max(unread) < 15
    assert sum("reading the instructions" in said for said in reports) == 1
    assert len(list((tmp_path / "readings").iterdir())) == 1


@needs_model
@pytest.mark.embedded
def test_a_chat_goes_on_from_the_cache_after_other_requests() -> None:
    reports: list[str] = []

    async def run() -> None:
        model = await start_embedded(lambda said, *_: reports.append(said))
        try:
            await chat(model)
            with pytest.raises(ModelRefusedError, match=r"context size.*smaller parts"):
                await collect(model, [Message("user", "word " * 9000)])
        finally:
            await model.aclose()

    async def chat(model: EmbeddedModel) -> None:
        assert (model.where, model.context_tokens) == ("this machine (embedded)", 8192)
        root = [Message("system", "You answer in one word. " * 20), Message("user", "What is the capital of France?")]
        reply = await collect(model, root, max_tokens=8, temperature=0.0)
        assert "Paris" in text(reply)
        assert reply[-1].finish_reason
        for part in ("apples and pears", "stones and sand", "ships at sea"):
            await collect(model, [Message("user", f"{part} {part} {part}: what is this about?")], max_tokens=2)
        root += [Message("assistant", text(reply)), Message("user", "And of Italy?")]
        usage = (await collect(model, root, max_tokens=8, temperature=0.0))[-1].usage
        assert usage
        assert usage.cached_tokens > 100
        assert usage.prompt_tokens - usage.cached_tokens < 40

    asyncio.run(run())
    assert any(said.startswith("model loaded in ") for said in reports)


@needs_model
@pytest.mark.embedded
def test_a_model_that_dies_says_so_and_can_be_closed() -> None:
    async def run() -> None:
        model = await start_embedded(nothing)
        stream = model.stream([Message("user", "Count from one to a hundred.")], Sampling(max_tokens=400))
        await anext(stream)
        model._process.kill()
        with pytest.raises(ModelUnreachableError, match=r"process has ended.*embedded\.log"):
            async for _ in stream:
                pass
        with pytest.raises(ModelUnreachableError, match="process has ended"):
            await collect(model)
        await model.aclose()

    asyncio.run(run())


@needs_model
@pytest.mark.embedded
def test_it_ends_with_its_parent_however_that_ends() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        arguments = " ".join(child.cmdline())
        assert "embedded.process" in arguments
        parent.send_signal(signal.SIGKILL)
        child.wait(10)


@needs_model
@pytest.mark.embedded
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it ends once it is loaded")
def test_it_ends_with_its_parent_while_it_loads() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stderr=subprocess.PIPE, text=True) as parent:
        assert parent.stderr is not None
        assert parent.stderr.readline().startswith("loading")
        children: list[psutil.Process] = []
        while not children:
            children = psutil.Process(parent.pid).children()
        while "libllama" not in str(children[0].memory_maps()) and "xllamacpp" not in str(children[0].memory_maps()):
            pass
        parent.send_signal(signal.SIGKILL)
        children[0].wait(10)


@needs_model
@pytest.mark.embedded
def test_only_who_has_the_key_is_answered() -> None:
    async def run() -> None:
        model = await start_embedded(nothing)
        try:
            stranger = OpenAIModel(model._url, model.name, api_key="guessed")
            with pytest.raises(ModelRefusedError, match="401"):
                await collect(stranger)
            await stranger.aclose()
        finally:
            await model.aclose()

    asyncio.run(run())


@pytest.mark.skipif(server.missing() is not None, reason="xllamacpp is not installed")
def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    file = tmp_path / "broken.gguf"
    with pytest.raises(ModelError, match="no model file"):
        asyncio.run(start_embedded(nothing, file))
    file.write_bytes(b"GGUF but not really")
    with pytest.raises(ModelError, match=r"could not be loaded.*embedded\.log"):
        asyncio.run(start_embedded(nothing, file))


def test_without_the_engine_the_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "missing", lambda: "xllamacpp is not installed")
    with pytest.raises(ModelError, match=r"pip install 'kowalski-jupyter\[embedded\]'"):
        asyncio.run(start_embedded(nothing))
