"""Code that goes on between cells, where no cell's time limit sees it, has so much processor time and no more."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kowalski_jupyter.kernels.base import Limits
from kowalski_jupyter.kernels.cgroup import Cgroup

from .languages import need
from .support import FakeRun, opened, until

LIMITS = Limits(cpu_seconds=1.0)
BURNERS = {
    "a thread": (
        "python",
        "import threading\ndef burn():\n    while True: pass\nthreading.Thread(target=burn, daemon=True).start()",
    ),
    "a process": ("python", "import os\nif os.fork() == 0:\n    os.setsid()\n    while True: pass"),
    "processes that end soon": (
        "python",
        """
import os, time
if os.fork() == 0:
    while True:
        if os.fork() == 0:
            while time.process_time() < 0.02: pass
            os._exit(0)
        os.wait()""",
    ),
    "a program": ("bash", "while :; do :; done > /dev/null 2>&1 & "),
    "programs that end soon": ("bash", "(while :; do seq 20000; done > /dev/null 2>&1) & "),
}


@pytest.fixture(params=["grouped", "added up"])
def counting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Say who counts: a control group, where one can be had, or nobody but the service."""
    if request.param == "added up":
        monkeypatch.setattr(Cgroup, "create", lambda *_: None)
    elif (group := Cgroup.create(LIMITS)) is None:
        pytest.skip("no control group can be had here")
    else:
        group.remove()
    how: str = request.param
    return how


@pytest.mark.parametrize("burner", BURNERS)
def test_what_burns_between_cells_is_ended(burner: str, counting: str, root: Path) -> None:
    language, code = BURNERS[burner]
    if language != "python":
        need(language)

    async def scenario() -> None:
        async with opened(root, {"n": 4}, language=language, limits=LIMITS) as session:
            assert (session.kernel._process.provisioner.cgroup is None) == (counting == "added up")  # type: ignore[attr-defined]
            assert (await session(code)).status == "ok", session.text()
            await until(lambda: not session.kernel.alive, 60)  # type: ignore[attr-defined]
            result = await session("echo again")
            assert (result.status, result.reason) == ("died", "it used more processor time than 1 s")
            fresh = await session.pool.acquire(language, data=(), calls=FakeRun())
            assert (await fresh.execute("1" if language == "python" else "true", session.outputs.append)).status == "ok"

    asyncio.run(scenario())


@pytest.mark.parametrize("language", ["python", "bash"])
def test_a_cell_is_told_why_it_ended(language: str, root: Path) -> None:
    async def scenario() -> None:
        async with opened(root, language=language, limits=LIMITS) as session:
            result = await session("while True: pass" if language == "python" else "while :; do :; done")
            assert (result.status, result.reason) == ("died", "it used more processor time than 1 s")

    if language != "python":
        need(language)
    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("language", "cell"),
    [
        ("python", "import resource; print(*resource.getrlimit(resource.RLIMIT_CPU))"),
        ("bash", "ulimit -St; ulimit -Ht"),
    ],
)
def test_the_system_bounds_each_process_as_well(language: str, cell: str, root: Path) -> None:
    async def scenario() -> None:
        async with opened(root, language=language, limits=LIMITS) as session:
            assert (await session(cell)).status == "ok", session.text()
            assert session.text("stdout").split() == ["11", "11"]

    if language != "python":
        need(language)
    asyncio.run(scenario())


def test_waiting_is_free(counting: str, root: Path) -> None:
    assert counting

    async def scenario() -> None:
        async with opened(root, limits=LIMITS) as session:
            assert (await session("import time; time.sleep(3)")).status == "ok"
            assert await session.value("1") == "1"

    asyncio.run(scenario())
