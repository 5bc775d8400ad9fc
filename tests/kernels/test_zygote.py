"""Kernels are forked from one process, share nothing but its modules, and start from nothing where that fails."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Coroutine
from pathlib import Path

import psutil
import pytest

from kowalski_jupyter.kernels.base import KernelError
from kowalski_jupyter.kernels.child import ChildKernel
from kowalski_jupyter.kernels.pool import KernelPool
from kowalski_jupyter.kernels.sandbox import Mount, Python
from kowalski_jupyter.kernels.zygote import Zygote, ZygoteError, supported

from .languages import need
from .support import FakeRun, until


@pytest.fixture(autouse=True)
def one_zygote() -> None:
    """Let each pool have its own."""


REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not supported(), reason="this system cannot fork kernels (see kernels/zygote.py)")


async def value(kernel: ChildKernel, code: str) -> str:
    """Return the text that the last expression of a cell has for its value."""
    outputs: list[str] = []
    result = await kernel.execute(code, lambda output: outputs.append(output.text))
    assert result.status == "ok", outputs
    return "".join(outputs)


def with_pool(root: Path, scenario: Callable[[KernelPool], Coroutine[None, None, None]], *, spares: int = 0) -> None:
    """Run `scenario` with a pool whose zygote has started."""

    async def run() -> None:
        pool = KernelPool(root, spares=spares)
        try:
            await (await pool.acquire("python", data=(), calls=FakeRun())).close()
            await scenario(pool)
        finally:
            await pool.close()

    asyncio.run(run())


async def several(pool: KernelPool, count: int) -> list[ChildKernel]:
    return await asyncio.gather(*(pool.acquire("python", data=(), calls=FakeRun()) for _ in range(count)))


def zygote_process() -> psutil.Process:
    """The one process that the pool's kernels are forked from: other tests' is older."""
    sandboxes = [child for child in psutil.Process().children() if "--zygote" in child.cmdline()]
    (zygote,) = max(sandboxes, key=psutil.Process.create_time).children()
    return zygote


def test_kernels_are_forked(root: Path) -> None:
    async def scenario(pool: KernelPool) -> None:
        zygote = zygote_process()
        assert zygote.num_threads() == 1
        await several(pool, 3)
        assert len(zygote.children()) == 3

    with_pool(root, scenario)


def test_forked_kernels_share_nothing_that_is_random(root: Path) -> None:
    async def scenario(pool: KernelPool) -> None:
        kernels = await several(pool, 3)
        code = "import random, tempfile, uuid\nrandom.random(), uuid.uuid4(), tempfile.mktemp()"
        assert len({await value(kernel, code) for kernel in kernels}) == 3
        assert len({kernel._process.provisioner.connection_info["key"] for kernel in kernels if kernel._process}) == 3

    with_pool(root, scenario)


def test_a_forked_kernel_has_nothing_of_the_zygote_open(root: Path) -> None:
    async def scenario(pool: KernelPool) -> None:
        (kernel,) = await several(pool, 1)
        code = "import os\nlinks = [f'/proc/self/fd/{n}' for n in os.listdir('/proc/self/fd')]"
        kinds = "{os.readlink(link).split(':')[0] for link in links if os.path.islink(link)}"  # one was that folder
        kinds += " - {'pipe', 'socket', 'anon_inode', '/dev/null'}"
        assert await value(kernel, f"{code}\n{kinds}") == "set()"
        assert await value(kernel, "os.path.exists('/host')") == "False"

    with_pool(root, scenario)


def test_no_dead_process_is_left_in_a_forked_kernels_sandbox(root: Path) -> None:
    code = """
import os, time
before = len([p for p in os.listdir('/proc') if p.isdigit()])
for _ in range(5):
    if os.fork() == 0:
        if os.fork() == 0:
            time.sleep(0.05)
        os._exit(0)
    os.wait()
deadline = time.monotonic() + 10
while len([p for p in os.listdir('/proc') if p.isdigit()]) > before and time.monotonic() < deadline:
    time.sleep(0.01)
len([p for p in os.listdir('/proc') if p.isdigit()]) - before
"""

    async def scenario(pool: KernelPool) -> None:
        (kernel,) = await several(pool, 1)
        assert await value(kernel, code) == "0"

    with_pool(root, scenario)


def test_a_zygote_that_has_died_is_replaced(root: Path) -> None:
    async def scenario(pool: KernelPool) -> None:
        (forked,) = await several(pool, 1)
        dead = zygote_process()
        dead.kill()
        await until(lambda: not forked.alive)
        assert (await forked.execute("1", print)).status == "died"
        kernels = await several(pool, 3)
        assert [await value(kernel, "1 + 1") for kernel in kernels] == ["2"] * 3
        zygote = zygote_process()
        assert zygote.pid != dead.pid
        guards = [child for child in zygote.children() if child.name() == "kernel-guard"]
        assert len(guards) == 3

    with_pool(root, scenario)


def test_kernels_start_from_nothing_where_no_zygote_starts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kowalski_jupyter.kernels.zygote.PRELUDE", "/nowhere")

    async def scenario(pool: KernelPool) -> None:
        (kernel,) = await several(pool, 1)
        assert await value(kernel, "1 + 1") == "2"

    with_pool(root, scenario)


def test_a_guard_that_is_killed_takes_its_kernel_along(root: Path) -> None:
    async def scenario(pool: KernelPool) -> None:
        kernel, other = await several(pool, 2)
        guard = zygote_process().children()[0]
        family = guard.children(recursive=True)
        guard.kill()
        await until(lambda: not any(process.is_running() for process in family))
        await until(lambda: kernel.alive != other.alive)

    with_pool(root, scenario)


@pytest.mark.parametrize("language", ["python", "bash"])
def test_a_sandbox_waits_for_the_next_kernel(root: Path, language: str) -> None:
    if language != "python":
        need(language)

    async def scenario(pool: KernelPool) -> None:
        await pool.ready()
        spare = await pool.acquire("python", data=(), calls=FakeRun())
        assert spare._process
        before = {guard.pid for guard in zygote_process().children()}
        kernel = await pool.acquire(language, data=(), calls=FakeRun())
        assert kernel._process
        inside = psutil.Process(kernel._process.provisioner.inside)
        assert inside.parent().parent().pid in before
        assert (await kernel.execute("echo", print)).status == ("error" if language == "python" else "ok")

    with_pool(root, scenario, spares=1)


def test_a_sandbox_whose_fork_has_died_is_passed_over(root: Path) -> None:
    async def scenario(pool: KernelPool) -> None:
        await pool.ready()
        await pool.acquire("python", data=(), calls=FakeRun())
        waiting = zygote_process().children()[-1]
        fork = next(child for child in waiting.children(recursive=True) if child.name() == "kernel-to-be")
        fork.kill()
        await until(lambda: not waiting.is_running())
        kernel = await pool.acquire("python", data=(), calls=FakeRun())
        assert await value(kernel, "1 + 1") == "2"
        await kernel.close()

    with_pool(root, scenario, spares=1)


def test_a_zygote_that_is_closed_forks_no_more(tmp_path: Path) -> None:
    async def scenario() -> None:
        zygote = Zygote(Python.probe(sys.executable))
        try:
            await zygote.start()
            assert zygote.shows([Mount(tmp_path, "/data/seen")])
            assert not zygote.shows([Mount(tmp_path / "gone", "/data/gone")])
        finally:
            await zygote.close()
        with pytest.raises(ZygoteError, match="closed"):
            zygote.fork([], info=0, cgroup=None)

    asyncio.run(scenario())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_disk_that_was_mounted_after_the_zygotes_start(root: Path, tmp_path: Path) -> None:
    """The zygote still sees the empty folder below it, and must not pass that on."""
    place = tmp_path / "disk"
    place.mkdir()
    code = f"""
        import asyncio, subprocess, sys
        sys.path.insert(0, {str(REPOSITORY)!r})
        from pathlib import Path
        from tests.kernels.support import FakeRun, KernelPool, pack
        async def main():
            pool = KernelPool(Path({str(root)!r}), spares=0)
            try:
                await pool.acquire("python", data=(), calls=FakeRun())
                subprocess.run(["mount", "-t", "tmpfs", "disk", {str(place)!r}], check=True)
                Path({str(place)!r}, "there").touch()
                data = [pack("disk", Path({str(place)!r}), Path({str(root)!r}))]
                kernel = await pool.acquire("python", data=data, calls=FakeRun())
                await kernel.execute("list(disk.iterdir())", lambda output: print(output.text))
            finally:
                await pool.close()
        asyncio.run(main())
    """
    line = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout == "[PosixPath('/data/disk/disk/there')]\n", done.stderr


def test_closing_while_sandboxes_are_made_leaves_nothing(root: Path) -> None:
    """Whenever it comes: what bubblewrap has not finished yet does not end with bubblewrap itself."""

    async def scenario() -> None:
        for number in range(10):
            pool = KernelPool(root / str(number), spares=0)
            try:
                await (await pool.acquire("python", data=(), calls=FakeRun())).close()
                starts = [asyncio.create_task(pool.acquire("python", data=(), calls=FakeRun())) for _ in range(3)]
                await asyncio.sleep(0.003 * number)
            finally:
                await pool.close()
            ended = await asyncio.gather(*starts, return_exceptions=True)
            assert all(isinstance(each, KernelError) or not each.alive for each in ended)  # type: ignore[union-attr]

    asyncio.run(scenario())
