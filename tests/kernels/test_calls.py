"""The per-run socket: what code asks of its run, and what a hostile peer gets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kowalski_jupyter.kernels import calls as calls_module
from kowalski_jupyter.kernels.base import FUNCTIONS, Function, Value
from kowalski_jupyter.kernels.calls import CallServer
from kowalski_jupyter.kernels.prelude.calls import Calls, QueryError, Request
from kowalski_jupyter.kernels.values import decode_answer

from .support import FakeRun, opened, until


@asynccontextmanager
async def listening(
    folder: Path, run: FakeRun | None = None, functions: Collection[Function] = FUNCTIONS
) -> AsyncIterator[CallServer]:
    server = CallServer(folder / "calls.sock", run or FakeRun(), lambda _busy: None, functions)
    await server.start()
    try:
        yield server
    finally:
        await server.close()
    assert not (folder / "calls.sock").exists()


async def ask(folder: Path, *requests: bytes) -> list[dict[str, Any]]:
    """Send raw requests over one connection and return the replies."""
    reader, writer = await asyncio.open_unix_connection(str(folder / "calls.sock"))
    replies = []
    try:
        for request in requests:
            writer.write(request)
            if line := await asyncio.wait_for(reader.readline(), 20):
                replies.append(json.loads(line))
    except ConnectionError:
        pass
    finally:
        writer.close()
    return replies


def test_queries_from_a_cell(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            assert await session.value("llm_query('who?', model='small', max_tokens=5)") == "'reply to who?'"
            assert session.run.options == [{"model": "small", "max_tokens": 5}]
            odd = "'a\\r\\n\\x00é\\U0001f600' * 1000"
            assert await session.value(f"llm_query({odd}) == 'reply to ' + {odd}") == "True"
            assert await session.value("llm_query('\\ud800')") == "'reply to ?'"
            assert await session.value("llm_query_batched(['a', 'b'])") == "['reply to a', 'reply to b']"
            assert await session.value("llm_query_batched(str(i) for i in range(2))") == "['reply to 0', 'reply to 1']"
            assert await session.value("llm_query_batched([])") == "[]"
            for code in ("llm_query(['a'])", "llm_query(None)", "llm_query_batched('a')", "llm_query_batched([1])"):
                assert (await session(code)).reason == "TypeError"

    asyncio.run(scenario())


def test_a_query_that_fails(root: Path) -> None:
    async def reply(prompt: str) -> str:
        if prompt == "bad":
            raise ValueError("the model is gone")
        return prompt

    async def scenario() -> None:
        async with opened(root, run=FakeRun(reply=reply)) as session:
            result = await session("llm_query('bad')")
            assert (result.status, result.reason) == ("error", "QueryError")
            assert session.text("error").endswith("QueryError: the model is gone")
            value = await session.value("[str(r) for r in llm_query_batched(['a', 'bad', 'c'])]")
            assert value == "['a', 'the model is gone', 'c']"
            assert await session.value("isinstance(llm_query_batched(['bad'])[0], QueryError)") == "True"

    asyncio.run(scenario())


def test_queries_from_threads_and_processes(root: Path) -> None:
    async def scenario() -> None:
        together = asyncio.Barrier(16)

        async def reply(prompt: str) -> str:
            if prompt.startswith("t"):
                await together.wait()
            return prompt.upper()

        code = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(16) as pool:
    threads = list(pool.map(llm_query, [f't{i}' for i in range(16)]))
import os
reader, writer = os.pipe()
if os.fork() == 0:
    os.write(writer, llm_query('child').encode())
    os._exit(0)
os.wait()
threads == [f'T{i}' for i in range(16)], os.read(reader, 100), llm_query('parent')
"""
        async with opened(root, run=FakeRun(reply=reply)) as session:
            assert (await session(code)).status == "ok", session.text()
            assert session.text("result") == "(True, b'CHILD', 'PARENT')"

    asyncio.run(scenario())


def test_after_an_interrupted_query_the_next_one_gets_its_own_reply(root: Path) -> None:
    async def scenario() -> None:
        asked = asyncio.Event()

        async def reply(prompt: str) -> str:
            if prompt == "slow":
                asked.set()
                await asyncio.sleep(60)
            return prompt

        async with opened(root, run=FakeRun(reply=reply)) as session:
            cell = asyncio.create_task(session("llm_query('slow')"))
            await asyncio.wait_for(asked.wait(), 20)
            cell.cancel()
            await asyncio.wait([cell])
            assert await session.value("llm_query('fast')") == "'fast'"

    asyncio.run(scenario())


def test_an_interrupt_ends_code_that_catches_every_error_of_a_query(root: Path) -> None:
    async def scenario() -> None:
        asked = asyncio.Event()

        async def reply(prompt: str) -> str:
            asked.set()
            await asyncio.Event().wait()
            return prompt

        async with opened(root, run=FakeRun(reply=reply)) as session:
            code = "kept = 1\nwhile True:\n    try: llm_query('slow')\n    except Exception as error: print(error)"
            cell = asyncio.create_task(session(code))
            await asyncio.wait_for(asked.wait(), 20)
            cell.cancel()
            await asyncio.wait([cell])
            assert session.text("stdout") == ""
            assert await session.value("kept") == "1"

    asyncio.run(scenario())


def test_a_run_that_ends_in_the_middle_of_a_query_is_told_of(tmp_path: Path) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()

    async def scenario() -> None:
        path = str(tmp_path / "calls.sock")
        async with await asyncio.start_unix_server(hang_up, path):
            with pytest.raises(QueryError, match="cannot be reached: it has ended"):
                await asyncio.to_thread(Calls(path, "").call, Request("llm_query"))

    asyncio.run(scenario())


def test_a_draft_goes_with_the_end_of_the_cell_that_changes_it(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            cells = {
                "answer['content'] = found = ['a']": ["a"],
                "found": None,
                "found.append('b')\n1 / 0": ["a", "b"],
                "answer['content'] = object()": None,
                "answer['content'] = 'x' * 1_000_000": None,
                "answer['content'] = [['y'] * 1_000] * 100": None,
                "answer['content'] = type('Odd', (list,), {'__repr__': lambda self: exit()})([1])": None,
                "answer = 5": None,
                "answer = {'content': (1, 2)}": (1, 2),
            }
            for code, value in cells.items():
                draft = (await session(code)).draft
                assert (draft and decode_answer(draft.kind, draft.data)) == value, code

    asyncio.run(scenario())


def test_data_called_answer_is_no_draft(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root, {"answer": {"content": 5}}) as session:
            assert (await session("1")).draft is None

    asyncio.run(scenario())


def test_final_counts_once(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            code = "try:\n    FINAL(1)\nexcept BaseException:\n    pass\nFINAL(2)\nprint('not here')"
            assert (await session(code)).status == "final"
            assert session.run.value == 1
            assert session.outputs == []

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "code",
    [
        "import threading\nt = threading.Thread(target=FINAL, args=(7,))\nt.start(); t.join()",
        "import os\nif os.fork(): os.wait()\nelse: FINAL(7)",
    ],
    ids=["a thread", "a copy of the process"],
)
def test_final_from_elsewhere(root: Path, code: str) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            assert (await session(code)).status == "final"
            assert session.run.value == 7
            assert session.outputs == []

    asyncio.run(scenario())


def test_an_answer_that_the_run_checks_is_refused_where_it_is_given(root: Path) -> None:
    async def final(answer: Value) -> None:
        if answer.text == "1":
            raise ValueError("not 1")

    async def scenario() -> None:
        run = FakeRun(checks_answer=True)
        run.final = final  # type: ignore[method-assign]
        async with opened(root, run=run) as session:
            result = await session("try:\n    FINAL(1)\nexcept QueryError as error:\n    print(error)")
            assert (result.status, session.text("stdout")) == ("ok", "not 1\n")
            assert (await session("FINAL(2)")).status == "final"

    asyncio.run(scenario())


def test_final_var(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            result = await session("result = [1, 2]\nFINAL_VAR('resutl')")
            assert result.reason == "NameError"
            assert "result" in session.text("error")
            assert (await session("FINAL_VAR('result')")).status == "final"
            assert session.run.value == [1, 2]
        async with opened(root / "2") as session:
            assert (await session("result = {'a': 1}\nFINAL_VAR(result)")).status == "final"
            assert session.run.value == {"a": 1}

    asyncio.run(scenario())


def test_the_answer_dict(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            assert (await session("answer['ready'] = True")).status == "ok"
            assert "content" in session.text("stderr")
            result = await session("answer |= {'content': object(), 'ready': 1}")
            assert (result.status, result.reason) == ("error", "TypeError")
            result = await session("answer['content'] = 'x'\n1 / 0")
            assert result.status == "error"
            assert not session.run.answers
            assert (await session("pass")).status == "final"
            assert session.run.value == "x"
        async with opened(root / "2", {"answer": {"ready": True, "content": 1}}) as session:
            assert (await session("answer")).status == "ok"
            assert not session.run.answers

    asyncio.run(scenario())


def test_what_cannot_be_an_answer(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            for value in ("object()", "print", "[lambda: 0]", "{1: open('/dev/null')}", "llm_query"):
                result = await session(f"FINAL({value})")
                assert (result.status, result.reason) == ("error", "TypeError"), value
                assert "These can" in session.text("error")
            result = await session("x = []\nx.append(x)\nFINAL(x)")
            assert result.reason == "TypeError"
            assert not session.run.answers

    asyncio.run(scenario())


BAD_REQUESTS = {
    b"nonsense\n": "JSON",
    b"[1]\n": "object",
    b"[" * 100_000 + b"\n": "JSON",
    b"{}\n": "token",
    b'{"token": 5}\n': "token",
    b'{"token": "\\ud800"}\n': "token",
    b'{"token": "TOKEN", "size": -1}\n': "512 MB",
    b'{"token": "TOKEN", "size": true}\n': "512 MB",
    b'{"token": "TOKEN", "size": 99999999999}\n': "512 MB",
    b'{"token": "TOKEN", "call": "shell"}\n': "no call",
    b'{"token": "TOKEN", "call": ["llm_query"]}\n': "no call",
    b'{"token": "TOKEN", "call": "llm_query"}\n': "prompt",
    b'{"token": "TOKEN", "call": "llm_query", "prompt": 5, "options": {}}\n': "prompt",
    b'{"token": "TOKEN", "call": "llm_query", "prompt": "a", "options": []}\n': "options",
    b'{"token": "TOKEN", "call": "llm_query_batched", "prompts": [5], "options": {}}\n': "prompts",
    b'{"token": "TOKEN", "call": "final", "kind": "pickle", "type": "x", "text": "x"}\n': "kind",
    b'{"token": "TOKEN", "call": "rlm_query_batched", "queries": [5], "values": [], "options": {}}\n': "queries",
    b'{"token": "TOKEN", "call": "rlm_query_batched", "queries": [{}], "values": [], "options": {}}\n': "question",
    b'{"token": "TOKEN", "call": "rlm_query_batched", "queries": [], "values": [{"size": 1}]}\n': "sizes",
    b'{"token": "TOKEN", "call": "rlm_query_batched", "queries": [{"question": "a", "context": 0}], "values": [], '
    b'"options": {}}\n': "place",
    b'{"token": "TOKEN", "call": "rlm_query_batched", "queries": [{"question": "a", "context": true}], "values": '
    b'[{"kind": "bytes", "type": "", "text": "", "size": 1}], "options": {}, "size": 1}\nx': "place",
    b'{"token": "TOKEN", "call": "rlm_query_batched", "queries": [], "values": [{"size": -1}]}\n': "sizes",
}


@pytest.mark.parametrize("request_line", BAD_REQUESTS)
def test_bad_requests_are_answered(request_line: bytes, folder: Path) -> None:
    async def scenario() -> None:
        run = FakeRun()
        async with listening(folder, run) as server:
            line = request_line.replace(b"TOKEN", server.token.encode())
            (reply,) = await ask(folder, line)
            assert BAD_REQUESTS[request_line] in reply["error"]
            good = {"token": server.token, "call": "llm_query", "prompt": "a", "options": {}}
            assert await ask(folder, json.dumps(good).encode() + b"\n") == [{"reply": "reply to a"}]
        assert run.prompts == ["a"]
        assert not run.queries
        assert not run.answers

    asyncio.run(scenario())


def test_what_a_run_does_not_allow_is_refused_at_the_socket_too(folder: Path) -> None:
    async def scenario() -> None:
        run = FakeRun()
        async with listening(folder, run, functions=("rlm_query",)) as server:
            query = {"token": server.token, "call": "llm_query_batched", "prompts": ["a"], "options": {}}
            (reply,) = await ask(folder, json.dumps(query).encode() + b"\n")
            assert "does not allow llm_query" in reply["error"]
        assert not run.prompts

    asyncio.run(scenario())


def test_sizes_are_limited(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls_module, "LARGEST_LINE", 1000)
    monkeypatch.setattr(calls_module, "LARGEST_WAITING", 5000)
    monkeypatch.setattr(calls_module, "MOST_CONNECTIONS", 4)

    async def scenario() -> None:
        async with listening(folder) as server:
            (reply,) = await ask(folder, b"x" * 3000)
            assert "Send less" in reply["error"]
            header = json.dumps({"token": server.token, "call": "final", "size": 100_000}).encode() + b"\n"
            (reply,) = await ask(folder, header + b"y" * 20_000)
            assert "Too much" in reply["error"]
            await until(lambda: server.waiting == 0)
            open_ones = [await asyncio.open_unix_connection(str(folder / "calls.sock")) for _ in range(4)]
            (reply,) = await ask(folder, b"x")
            assert "Too many connections" in reply["error"]
            for _, writer in open_ones:
                writer.close()

    asyncio.run(scenario())


def test_parts_are_limited_and_commas_in_texts_are_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls_module, "MOST_PARTS", 100)

    async def scenario() -> None:
        run = FakeRun()
        async with listening(folder, run) as server:
            start = b'{"token": "%s", "call": "llm_query", "options": {}, "prompt": ' % server.token.encode()
            for value in (b"[" + b"1," * 100 + b"1]", b"[" + b'"",' * 100 + b'""]'):
                (reply,) = await ask(folder, start + value + b"}\n")
                assert "at most 100 parts" in reply["error"]
            (reply,) = await ask(folder, start + b'"say \\"a' + b"a, " * 1000 + b'\\""}\n')
            assert reply["reply"].startswith('reply to say "aa, a')

    asyncio.run(scenario())


def test_replies_that_nobody_reads_are_limited(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection whose replies are not read is asked nothing more, and all together hold no more than so much."""
    monkeypatch.setattr(calls_module, "LARGEST_WAITING", 5 << 20)
    run = FakeRun()
    run.shelf["large"] = Value("bytes", "bytes", "", bytes(4 << 20))

    async def scenario() -> None:
        async with listening(folder, run) as server:
            request = json.dumps({"token": server.token, "call": "shared", "name": "large"}).encode() + b"\n"
            reader, writer = await asyncio.open_unix_connection(str(folder / "calls.sock"))
            writer.write(request * 10)
            await until(lambda: server.unread)
            (reply,) = await ask(folder, request)
            assert "read the replies" in reply["error"]
            assert server.unread < 5 << 20
            for _ in range(10):  # what was asked for is there, one after the other
                size = json.loads(await reader.readline())["size"]
                assert await reader.readexactly(size) == bytes(4 << 20)
            writer.close()

    asyncio.run(scenario())


def test_a_peer_that_hangs_up_cancels_its_request(folder: Path) -> None:
    async def scenario() -> None:
        asked = asyncio.Event()

        async def forever(_prompt: str) -> str:
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError

        run = FakeRun(reply=forever)
        async with listening(folder, run) as server:
            _, writer = await asyncio.open_unix_connection(str(folder / "calls.sock"))
            request = {"token": server.token, "call": "llm_query", "prompt": "a", "options": {}}
            writer.write(json.dumps(request).encode() + b"\n")
            await asyncio.wait_for(asked.wait(), 20)
            writer.close()
            await until(lambda: run.cancelled == 1)

    asyncio.run(scenario())


def test_requests_may_arrive_in_pieces_and_in_a_row(folder: Path) -> None:
    async def scenario() -> None:
        run = FakeRun()
        async with listening(folder, run) as server:
            answer = {"token": server.token, "call": "final", "kind": "bytes", "type": "bytes", "text": "", "size": 4}
            query = {"token": server.token, "call": "llm_query", "prompt": "a", "options": {}}
            sent = json.dumps(answer).encode() + b"\n\n\0\xff\n" + json.dumps(query).encode() + b"\n"
            reader, writer = await asyncio.open_unix_connection(str(folder / "calls.sock"))
            for start in range(0, len(sent), 7):
                writer.write(sent[start : start + 7])
                await writer.drain()
                await asyncio.sleep(0)
            assert json.loads(await reader.readline()) == {"reply": True}
            assert json.loads(await reader.readline()) == {"reply": "reply to a"}
            writer.close()
            assert run.value == b"\n\0\xff\n"

    asyncio.run(scenario())
