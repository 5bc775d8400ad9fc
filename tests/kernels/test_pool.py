"""Kernels are warm when they are wanted, serve one run each, and are all gone at the end."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import KernelProvisionerFactory

from kowalski_jupyter.kernels.base import KernelError, Output
from kowalski_jupyter.kernels.folders import OwnedFolder, sweep
from kowalski_jupyter.kernels.pool import KernelPool
from kowalski_jupyter.kernels.provisioner import SandboxProvisioner

from .support import FakeRun, until


@pytest.fixture(autouse=True)
def one_zygote() -> None:
    """Let each pool have its own."""


def kernels() -> set[int]:
    """The process ids of all sandboxes and kernels, without the zygote."""
    own = psutil.Process()
    zygotes = [child for child in own.children() if "--zygote" in child.cmdline()]
    zygotes += [inside for child in zygotes for inside in child.children()]
    return {child.pid for child in own.children(recursive=True)} - {zygote.pid for zygote in zygotes}


def test_a_spare_is_taken_and_replaced(root: Path) -> None:
    async def scenario() -> None:
        pool = KernelPool(root, spares=1)
        try:
            await pool.start()
            await pool.ready()
            (spare,) = pool._kernels
            first = await pool.acquire("python", data=(), calls=FakeRun())
            assert first is spare
            await pool.ready()
            second = await pool.acquire("python", data=(), calls=FakeRun())
            assert second is not first
            await first.execute("x = 1", print)
            assert (await second.execute("x", print)).status == "error"
        finally:
            await pool.close()

    asyncio.run(scenario())


def test_a_spare_has_warmed_up_and_has_no_past(root: Path) -> None:
    async def scenario() -> None:
        pool = KernelPool(root, spares=1)
        outputs: list[Output] = []
        try:
            await pool.start()
            await pool.ready()
            kernel = await pool.acquire("python", data=(), calls=FakeRun())
            assert (await kernel.execute("1 / 0", print)).names == ()
            await kernel.execute("history", outputs.append)
            (shown,) = outputs
            assert "'cell': 1" in shown.text
            assert "print()" not in shown.text
            assert "<cell 1>" in shown.text
        finally:
            await pool.close()

    asyncio.run(scenario())


def test_a_spare_that_has_died_is_passed_over(root: Path) -> None:
    async def scenario() -> None:
        pool = KernelPool(root, spares=1)
        try:
            await pool.start()
            await pool.ready()
            (spare,) = pool._kernels
            assert spare._process
            psutil.Process(spare._process.provisioner.inside).kill()
            await until(lambda: not spare.alive)
            kernel = await pool.acquire("python", data=(), calls=FakeRun())
            assert kernel is not spare
            assert (await kernel.execute("1", lambda _output: None)).status == "ok"
        finally:
            await pool.close()

    asyncio.run(scenario())


def test_closing_while_kernels_start(root: Path) -> None:
    async def scenario() -> None:
        pool = KernelPool(root, spares=2)
        await pool.start()
        await until(kernels)
        await pool.close()
        assert not kernels()
        with pytest.raises(KernelError, match="shut down"):
            await pool.acquire("python", data=(), calls=FakeRun())

    asyncio.run(scenario())


def test_a_caller_that_gives_up_leaves_nothing(root: Path) -> None:
    async def scenario() -> None:
        pool = KernelPool(root, spares=0)
        try:
            taker = asyncio.create_task(pool.acquire("python", data=(), calls=FakeRun()))
            await until(kernels)
            taker.cancel()
            await asyncio.wait([taker])
            assert not kernels()
        finally:
            await pool.close()

    asyncio.run(scenario())


def test_closing_a_kernel_leaves_nothing_of_it(root: Path) -> None:
    async def scenario() -> None:
        pool = KernelPool(root, spares=0)
        try:
            kernel = await pool.acquire("python", data=(), calls=FakeRun())
            await kernel.execute("import subprocess; subprocess.Popen(['sleep', '60'])", print)
            await asyncio.gather(kernel.close(), kernel.close())
            assert not kernels()
        finally:
            await pool.close()

    asyncio.run(scenario())
    assert not list(root.iterdir())


def test_other_languages_are_refused(root: Path) -> None:
    async def scenario() -> None:
        pool = KernelPool(root)
        with pytest.raises(KernelError, match=r"'cobol'.*python"):
            await pool.acquire("cobol", data=(), calls=FakeRun())
        await pool.close()

    asyncio.run(scenario())


def test_several_runs_at_once(root: Path) -> None:
    async def one(pool: KernelPool, number: int) -> str:
        run = FakeRun()
        kernel = await pool.acquire("python", data=(), calls=run)
        await kernel.execute(f"x = llm_query('{number}')\nFINAL(x)", print)
        await kernel.close()
        return str(run.value)

    async def scenario() -> None:
        pool = KernelPool(root, spares=1)
        try:
            assert await asyncio.gather(*(one(pool, number) for number in range(4))) == [
                f"reply to {number}" for number in range(4)
            ]
        finally:
            await pool.close()

    asyncio.run(scenario())


def test_folders_of_dead_processes_are_removed(tmp_path: Path) -> None:
    for name in ("kowalski-dead", "kowalski-owned", "kowalski-young", "other"):
        (tmp_path / name / "below").mkdir(parents=True)
        if name != "kowalski-young":
            os.utime(tmp_path / name, (0, 0))
    (tmp_path / "kowalski-link").symlink_to(tmp_path / "other")
    owned = OwnedFolder(tmp_path / "kowalski-owned")
    sweep(tmp_path, "kowalski-*")
    assert {path.name for path in tmp_path.iterdir()} == {"kowalski-link", "kowalski-owned", "kowalski-young", "other"}
    owned.remove()
    assert not (tmp_path / "kowalski-owned").exists()


def test_jupyters_own_manager_can_use_the_provisioner(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernelspec may name it (the entry point is there once the package is installed)."""

    def make(_factory: Any, kernel_id: str, kernel_spec: Any, parent: Any) -> SandboxProvisioner:
        return SandboxProvisioner(kernel_id=kernel_id, kernel_spec=kernel_spec, parent=parent)

    async def scenario() -> None:
        monkeypatch.setattr(KernelProvisionerFactory, "create_provisioner_instance", make)
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        manager = AsyncKernelManager(transport="ipc")
        manager._kernel_spec = KernelSpec(argv=argv, language="python", interrupt_mode="message")
        await manager.start_kernel()
        client = manager.client()
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=60)
            outputs: list[dict[str, Any]] = []
            await client.execute_interactive("import os; os.getuid()", output_hook=outputs.append, timeout=60)
            assert [o["content"]["data"]["text/plain"] for o in outputs if o["msg_type"] == "execute_result"] == [
                "1000"
            ]
        finally:
            client.stop_channels()
            client.context.term()
            await manager.shutdown_kernel(now=True)

    asyncio.run(scenario())
