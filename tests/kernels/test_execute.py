"""What a cell puts out, and what stays after it."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path

from kowalski_jupyter.kernels.base import Limits, Output

from .support import opened


def test_outputs(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            result = await session("import sys\nprint('out')\nprint('err', file=sys.stderr)\n40 + 2")
            assert result.status == "ok"
            assert result.names == ("sys",)
            assert session.outputs == [Output("stdout", "out\n"), Output("stderr", "err\n"), Output("result", "42")]

            await session("x = 3;\nx;")
            assert session.outputs == []
            await session("None")
            assert session.outputs == []
            await session("display({'a': 1}, 'b')")
            assert [output.kind for output in session.outputs] == ["display", "display"]
            assert session.text() == "{'a': 1}'b'"
            await session("import sys; sys.stdout.buffer.write('é'.encode()); sys.stdout.write('!');")
            assert session.text("stdout") == "é!"
            await session("print('\\ud800'); '\\udfff'")
            assert session.text() == "\\ud800\n'\\udfff'"

    asyncio.run(scenario())


def test_what_programs_and_c_code_write_is_seen(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            await session("import os, subprocess\nos.write(1, b'raw\\n')\nsubprocess.run(['echo', 'program'])\n5")
            assert session.text("stdout") == "raw\nprogram\n"
            await session("subprocess.run(['sh', '-c', 'echo oops >&2']);")
            assert session.outputs == [Output("stderr", "oops\n")]
            await session("!echo magic")
            assert "magic" in session.text("stdout")
            await session("if os.fork() == 0:\n    print('in a fork')\n    os._exit(0)\nos.wait();")
            assert session.text("stdout") == "in a fork\n"
            await session("pid = os.fork()\nif pid: os.waitpid(pid, 0)")
            assert await session.value("pid > 0") == "True"

    asyncio.run(scenario())


def test_errors(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            result = await session("def f(x):\n    return 1 / x\ny = 5\nf(0)")
            assert (result.status, result.reason) == ("error", "ZeroDivisionError")
            text = session.text("error")
            assert "\x1b" not in text
            assert 'File "<cell 1>", line 4, in <module>' in text
            assert "return 1 / x" in text
            assert "prelude" not in text
            assert "IPython" not in text
            assert await session.value("y") == "5"

            result = await session("def broken(:\n    pass")
            assert (result.status, result.reason) == ("error", "SyntaxError")
            assert 'File "<cell 3>", line 1' in session.text("error")

            await session("import json\njson.loads('{')")
            assert session.text("error").count("File ") == 2  # the cell and the place that raised
            await session("def g(n): return g(n + 1)\ng(0)")
            assert len(session.text("error")) < 3000
            await session("raise ValueError('x' * 1_000_000)")
            assert len(session.text("error")) < 20_000
            await session("class Bad(Exception):\n    def __str__(self): 1 / 0\nraise Bad")
            assert "Bad" in session.text("error")
            result = await session("%nosuchmagic")
            assert result.status == "error"

    asyncio.run(scenario())


def test_leaving_a_cell_early(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            for code in ("import sys; kept = 1; sys.exit(3)", "exit()", "quit()", "raise SystemExit('done')"):
                result = await session(code)
                assert (result.status, result.reason) == ("error", "SystemExit")
                assert "variables are kept" in session.text()
            assert await session.value("kept") == "1"
            result = await session("input('name? ')")
            assert result.reason == "RuntimeError"
            assert "input()" in session.text("error")
            assert await session.value("sys.stdin.read()") == "''"

    asyncio.run(scenario())


def test_asynchronous_cells(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root, limits=Limits(cell_seconds=1)) as session:
            assert (await session("import asyncio\nawait asyncio.sleep(0.01)\nz = 1")).status == "ok"
            result = await session("await asyncio.sleep(60)")
            assert result.status == "timeout"
            assert await session.value("z") == "1"

    asyncio.run(scenario())


def test_cells_share_context_variables_and_tasks_go_on_between_them(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            await session("import asyncio, contextvars\nwhere = contextvars.ContextVar('where')\nwhere.set('first')")
            assert await session.value("where.get()") == "'first'"
            await session("await asyncio.sleep(0)\nwhere.set('second')")
            assert await session.value("where.get()") == "'second'"
            assert await session.value("'await nothing, async neither'") == "'await nothing, async neither'"
            await session("task = asyncio.create_task(asyncio.sleep(0, 'done'))")
            assert await session.value("await task") == "'done'"

    asyncio.run(scenario())


def test_namespace_is_clean(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root, {"text": "abc", "number": 5}) as session:
            result = await session("pass")
            assert set(result.names) == {"text", "number", "context"}
            names = await session.value("sorted(name for name in globals() if not name.startswith('_'))")
            offered = "FINAL FINAL_VAR QueryError answer exit history quit chunks search map_query vote tree_reduce"
            asking = [
                f"{kind}_query{many}{how}"
                for kind in ("llm", "rlm")
                for many in ("", "_batched")
                for how in ("", "_async")
            ]
            imported = "Counter asyncio defaultdict json math re"
            assert set(ast.literal_eval(names)) == {
                *asking,
                *f"{offered} {imported} context number text share shared".split(),
            }
            assert await session.value("context == {'text': text, 'number': number}") == "True"
            result = await session("import string\ndel number\nllm_query = 3\ndef f(): ...")
            assert set(result.names) == {"text", "context", "string", "llm_query", "f"}

    asyncio.run(scenario())


def test_output_is_streamed_while_the_cell_runs(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            seen = asyncio.Event()
            outputs: list[Output] = []

            def on_output(output: Output) -> None:
                outputs.append(output)
                seen.set()

            code = (
                "import time, os\nprint('first')\nwhile not os.path.exists('/run/data/go'): time.sleep(0.01)\n'second'"
            )
            cell = asyncio.create_task(session.kernel.execute(code, on_output))
            await asyncio.wait_for(seen.wait(), 20)
            assert outputs == [Output("stdout", "first\n")]
            (folder,) = (root / "runs").iterdir()
            (folder / "go").touch()
            assert (await cell).status == "ok"
            assert outputs[1:] == [Output("result", "'second'")]

    asyncio.run(scenario())
