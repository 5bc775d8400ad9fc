"""Everything that code can do to its kernel ends with the right words, and with nothing left behind."""

from __future__ import annotations

import asyncio
import os
import zlib
from base64 import b64encode
from pathlib import Path

import psutil
import pytest

from kowalski_jupyter.kernels.base import KernelError, Limits, Output

from .support import FakeRun, Session, opened, until

FLOODS = {
    "prints": "for _ in range(100_000): print('x' * 9_999)",
    "one write": "import sys; sys.stdout.write('x' * 1_000_000_000);",
    "descriptor": "import os\nfor _ in range(1000): os.write(1, b'x' * 1_000_000)\nos.write(1, b'y');",
    "program": "import subprocess\nsubprocess.run('yes | head -c 999999999', shell=True);",
    "displays": "for _ in range(20_000): display('x' * 100)",
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_of_output_is_cut_at_the_source(flood: str, root: Path) -> None:
    async def scenario() -> None:
        limits = Limits(output=100_000, cell_seconds=60)
        async with opened(root, limits=limits) as session:
            before = psutil.Process().memory_info().rss
            result = await session(FLOODS[flood])
            assert result.status == "ok", (result, session.text("error")[-1000:])
            shown = sum(len(output.text) for output in session.outputs)
            omitted = sum(output.omitted for output in session.outputs)
            assert shown <= 100_000 + (1 << 14) + 100
            assert omitted > 1_500_000
            if flood != "displays":
                assert abs(shown + omitted - 1_000_000_000) <= 2
            assert psutil.Process().memory_info().rss - before < 50 << 20
            assert await session.value("'still here'") == "'still here'"
            assert session.outputs == [Output("result", "'still here'")]

    asyncio.run(scenario())


def test_a_request_to_a_kernel_that_has_just_died_keeps_nobody_waiting(root: Path) -> None:
    """Not the service either, which does not know of the end yet."""

    async def scenario() -> None:
        async with opened(root) as session:
            provisioner = session.kernel._process.provisioner  # type: ignore[attr-defined]
            first = psutil.Process(provisioner.inside)
            provisioner.kill_now()
            psutil.wait_procs([first])  # the loop must not learn of it
            for _ in range(2000):  # more than a socket keeps
                session.kernel._dialogue.interrupt()  # type: ignore[attr-defined]
            assert (await session("1")).status == "died"

    asyncio.run(scenario())


NONSENSE = {
    "no JSON": b"nonsense\n",
    "no reply": b'{"id": 1}\n',
    "too deep": b"[" * 100_000 + b"\n",
    "no end": b"x" * (5 << 20),
    "no value": b'{"id": "1", "content": []}\n',
    "an answer that is none": b'{"id": "REQUEST", "content": {"status": "ok", "published": 0, "answer": 5}}\n',
    "an answer without data": b'{"id": "REQUEST", "content": {"published": 0, "answer": {"kind": "json"}}}\n',
}


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_code_that_writes_where_its_kernel_answers_ends_only_itself(nonsense: str, root: Path) -> None:
    code = f"""
import os, socket, zlib
from base64 import b64decode
data = zlib.decompress(b64decode({b64encode(zlib.compress(NONSENSE[nonsense]))!r}))
data = data.replace(b'REQUEST', get_ipython().kernel._request['msg_id'].encode())
for name in os.listdir('/proc/self/fd'):
    try:
        connection = socket.socket(fileno=os.dup(int(name)))
        if connection.family == socket.AF_UNIX and not connection.getsockname() and not connection.getpeername():
            connection.sendall(data)
    except OSError:
        pass
"""

    async def scenario() -> None:
        async with opened(root / "a") as session, opened(root / "b") as other:
            result = await session(code)
            assert (result.status, result.reason) == ("died", "it sent something else than the replies that it owes")
            assert await other.value("6 * 7") == "42"

    asyncio.run(scenario())


def test_the_error_after_a_flood_is_seen(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root, limits=Limits(output=1000)) as session:
            await session("print('x' * 100_000)\n1 / 0")
            assert session.outputs[-1].kind == "error"
            assert "ZeroDivisionError" in session.outputs[-1].text

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "code",
    ["while True: pass", "while True: print('x')", "import time; time.sleep(60)", "import os; os.system('sleep 60')"],
)
def test_a_cell_that_takes_too_long_is_interrupted(code: str, root: Path) -> None:
    async def scenario() -> None:
        async with opened(root, limits=Limits(cell_seconds=0.5)) as session:
            result = await session(f"kept = 1\n{code}")
            assert result.status == "timeout"
            assert "0.5 s" in result.reason
            assert "kept" in result.names
            assert await session.value("kept") == "1"

    asyncio.run(scenario())


def test_a_cell_that_ignores_interrupts_is_killed(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root, limits=Limits(cell_seconds=0.2)) as session:
            result = await session("import time\nwhile True:\n    try: time.sleep(60)\n    except: pass")
            assert result.status == "died"
            assert "0.2 s" in result.reason
            assert (await session("1")).status == "died"

    asyncio.run(scenario())


DEATHS = {
    "os._exit": ("import os; os._exit(3)", "exit status 3"),
    "segmentation fault": ("import ctypes; ctypes.string_at(0)", "segmentation fault"),
    "abort": ("import os; os.abort()", "abort"),
    "suicide": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed"),
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_kernel_that_dies(death: str, root: Path) -> None:
    code, words = DEATHS[death]

    async def scenario() -> None:
        async with opened(root) as session:
            result = await session(f"import time\nprint('before', flush=True)\ntime.sleep(0.1)\n{code}")
            assert result.status == "died"
            assert words in result.reason
            assert session.text("stdout") == "before\n"

    asyncio.run(scenario())


def test_too_large_an_allocation_is_a_memory_error(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root, limits=Limits(memory=1 << 30)) as session:
            result = await session("kept = 1\nb = bytearray(10 << 30)")
            assert (result.status, result.reason) == ("error", "MemoryError")
            assert await session.value("kept") == "1"

    asyncio.run(scenario())


def test_many_processes_cannot_take_more_memory_together(root: Path) -> None:
    together = """
import os, time
children = []
for _ in range(6):
    pid = os.fork()
    if pid == 0:
        block = bytearray(b'x') * (200 << 20)
        time.sleep(5)
        os._exit(0)
    children.append(pid)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
-9 in codes
"""

    async def scenario() -> None:
        async with opened(root, limits=Limits(memory=400 << 20)) as session:
            if not _has_group(session):
                pytest.skip("no control group may be made here: only each process has a limit")
            result = await session(together)
            assert (result.status, session.text("result")) == ("ok", "True") or "more memory" in result.reason

    asyncio.run(scenario())


def test_a_kernel_that_is_killed_for_its_memory(root: Path) -> None:
    code = """
import subprocess, sys
block = bytearray(b'x') * (330 << 20)
hoard = "block = bytearray(b'x') * (200 << 20); import time; time.sleep(20)"
for process in [subprocess.Popen([sys.executable, '-c', hoard]) for _ in range(3)]:
    process.wait()
"""

    async def scenario() -> None:
        async with opened(root, limits=Limits(memory=400 << 20)) as session:
            if not _has_group(session):
                pytest.skip("no control group may be made here: only each process has a limit")
            result = await session(code)
            assert result.status == "died"
            assert "more memory" in result.reason

    asyncio.run(scenario())


FORK_BOMB = """
import os
made = 0
while True:
    try:
        if os.fork() == 0:
            import time
            time.sleep(60)
            os._exit(0)
        made += 1
        if made > 500:
            break
    except OSError:
        break
made
"""


def test_a_fork_bomb_is_contained(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root, limits=Limits(processes=40)) as session:
            if os.geteuid() == 0 and not _has_group(session):
                pytest.skip("no control group may be made here, and RLIMIT_NPROC does not bind root")
            made = int(await session.value(FORK_BOMB))
            assert 10 <= made <= 60
            assert await session.value("1 + 1") == "2"

    asyncio.run(scenario())


def test_a_full_disk_is_an_error(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root, limits=Limits(disk=20 << 20)) as session:
            for place in ("/tmp/work", "/dev/shm"):
                result = await session(f"for i in range(40):\n    open(f'{place}/{{i}}', 'wb').write(bytes(1 << 20))")
                assert (result.status, result.reason) == ("error", "OSError")
            result = await session("open('/tmp/work/0', 'wb').write(bytes(30 << 20))")
            assert result.reason == "OSError"

    asyncio.run(scenario())


def test_cancelling_interrupts_and_sends_nothing_more(root: Path) -> None:
    async def scenario() -> None:
        started = asyncio.Event()

        async def forever(_prompt: str) -> str:
            started.set()
            await asyncio.Event().wait()
            raise AssertionError

        run = FakeRun(reply=forever)
        async with opened(root, run=run) as session:
            code = "kept = 1\nfor i in range(100):\n    try: llm_query('x')\n    except Exception: pass"
            cell = asyncio.create_task(session(code))
            await asyncio.wait_for(started.wait(), 20)
            cell.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cell
            assert run.prompts == ["x"]
            run.reply = None
            assert await session.value("kept") == "1"
            assert len(run.prompts) == 1
            assert run.cancelled == 1

    asyncio.run(scenario())


def test_the_time_of_calls_is_not_the_cells(root: Path) -> None:
    async def scenario() -> None:
        async def slow(prompt: str) -> str:
            await asyncio.sleep(0.8)
            return prompt

        async with opened(root, run=FakeRun(reply=slow), limits=Limits(cell_seconds=0.5)) as session:
            assert (await session("llm_query('a')\nllm_query('b')")).status == "ok"
            assert (await session("llm_query('a')\nwhile True: pass")).status == "timeout"

    asyncio.run(scenario())


def test_closing_kills_a_running_cell(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            code = "import subprocess\nsubprocess.Popen(['sleep', '60'])\nprint('go', flush=True)\nwhile True: pass"
            cell = asyncio.create_task(session(code))
            await until(lambda: session.outputs)
            await session.kernel.close()
            result = await cell
            assert result.status == "died"

    asyncio.run(scenario())


def test_a_kernel_that_is_killed_from_outside(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            cell = asyncio.create_task(session("print('go', flush=True)\nwhile True: pass"))
            await until(lambda: session.outputs)
            victims = psutil.Process().children(recursive=True)
            victims[-1].kill()
            result = await asyncio.wait_for(cell, 20)
            assert result.status == "died"
            assert "killed" in result.reason

    asyncio.run(scenario())


def test_a_kernel_that_does_not_start(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr("kowalski_jupyter.kernels.pool.supported", lambda: False)  # a fork has its prelude
        monkeypatch.setattr("kowalski_jupyter.kernels.python.PRELUDE", "/nowhere")
        with pytest.raises(KernelError, match=r"did not start.*nowhere"):
            async with opened(root, unsandboxed=False):
                pass

    asyncio.run(scenario())


def _has_group(session: Session) -> bool:
    return session.kernel._process.provisioner.cgroup is not None  # type: ignore[attr-defined]
