"""Kernels that do wrong: each ends with a clear state, and with nothing left behind."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kowalski_jupyter.kernels.base import KernelError, Limits
from kowalski_jupyter.kernels.languages import LANGUAGES
from kowalski_jupyter.kernels.languages.bash import Bash
from kowalski_jupyter.kernels.languages.language import Opening
from kowalski_jupyter.kernels.sandbox import Mount

from .support import Session, opened

PROGRAM = Path(__file__).with_name("bad_kernel.py")


class Bad(Bash):
    """Bash's place in the table, held by the bad kernel: its prelude is a cell that is not run."""

    seconds_to_start = 20.0

    def opening(self, run: Opening) -> str:
        return f"# {run.socket}"

    def mounts(self, command: object) -> list[Mount]:  # noqa: ARG002
        return [Mount(PROGRAM, str(PROGRAM))]


@pytest.fixture
def bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give kernelspecs of a bad kernel a place, and have them looked for there."""
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setitem(LANGUAGES, "bash", Bad())  # type: ignore[arg-type]
    return tmp_path / "jupyter" / "kernels"


@asynccontextmanager
async def started(bad: Path, way: str, root: Path, seconds: float = 30) -> AsyncIterator[Session]:
    folder = bad / way
    folder.mkdir(parents=True)
    argv = [sys.executable, "-I", str(PROGRAM), way, "{connection_file}"]
    spec = {"argv": argv, "display_name": way, "language": "bash", "interrupt_mode": "message"}
    (folder / "kernel.json").write_text(json.dumps(spec))
    limits = Limits(cell_seconds=seconds, output=1 << 16)
    async with opened(root, language="bash", chosen={"bash": way}, limits=limits) as session:
        yield session


def test_one_that_is_slow_to_start_is_waited_for(bad: Path, root: Path) -> None:
    async def scenario() -> None:
        async with started(bad, "slow", root) as session:
            assert (await session("x")).status == "ok"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("dies_on_start", "did not start.*no such library"),
        ("never_starts", "did not start within 1.5 s"),
        ("silent", "did not start within 1.5 s"),
    ],
)
def test_one_that_does_not_start(bad: Path, root: Path, way: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "1.5" in said:
        monkeypatch.setattr(Bad, "seconds_to_start", 1.5)

    async def scenario() -> None:
        with pytest.raises(KernelError, match=said):
            async with started(bad, way, root):
                pass

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("dies", "exit status 7"),
        ("is_killed", "killed"),
        ("deaf", "did not stop"),
        ("hangs", "did not stop"),
        ("never_idle", "did not stop"),
        ("never_replies", "did not stop"),
        ("floods", "far more output"),
        ("floods_with_nothing", "did not stop"),
    ],
)
def test_one_that_has_to_be_ended(bad: Path, root: Path, way: str, said: str) -> None:
    async def scenario() -> None:
        async with started(bad, way, root, seconds=0.5 if said == "did not stop" else 60) as session:
            result = await session("go")
            assert result.status == "died", result
            assert said in result.reason
            assert session.text().startswith("before\n")
            assert (await session("x")).status == "died"

    asyncio.run(scenario())


@pytest.mark.parametrize("attempt", range(4))
def test_one_that_is_killed_in_the_middle_of_a_message(bad: Path, root: Path, attempt: int) -> None:
    """ZMQ may be reading the first part of it then, and must not end this process over it."""

    async def scenario() -> None:
        async with started(bad, "floods_with_nothing", root, seconds=0.1) as session:
            assert (await session("go")).status == "died", attempt

    asyncio.run(scenario())


@pytest.mark.parametrize("way", ["talks_garbage", "replies_twice", "answers_others"])
def test_one_that_talks_nonsense_is_not_believed(bad: Path, root: Path, way: str) -> None:
    async def scenario() -> None:
        async with started(bad, way, root) as session:
            # Garbage may be taken for an error that was told.
            assert (await session("go")).status == ("error" if way == "talks_garbage" else "ok"), session.outputs
            text = session.text()
            assert text.startswith("before\n")
            assert "forged" not in text
            assert "another" not in text
            assert (await session("x")).status == "ok"

    asyncio.run(scenario())


def test_one_that_the_user_chose_and_that_is_not_there(root: Path) -> None:
    async def scenario() -> None:
        with pytest.raises(KernelError, match=r"'nowhere'.*kernels add bash"):
            async with opened(root, language="bash", chosen={"bash": "nowhere"}):
                pass

    asyncio.run(scenario())


def test_outputs_that_come_after_the_end_belong_to_their_cell(
    bad: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bad, "late_outputs", True)

    async def scenario() -> None:
        async with started(bad, "is_late", root) as session:
            assert (await session("go")).status == "ok"
            assert session.text() == "before\nlate 0\nlate 1\nlate 2\nlate 3\n"

    asyncio.run(scenario())
