"""What code in another language than Python tries against the machine, from within its sandbox."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import psutil
import pytest

from kowalski_jupyter.kernels.base import KernelError, Limits
from kowalski_jupyter.kernels.languages import FOREIGN, LANGUAGES

from .languages import WORDS, need
from .support import FakeRun, Session, opened


@pytest.fixture(params=FOREIGN)
def language(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    need(name)
    return name


def test_little_memory_is_enough_or_too_little_in_words(language: str, root: Path) -> None:
    """Half a GiB is the least that can be set."""
    kind, little = LANGUAGES[language], 512 << 20

    async def scenario() -> None:
        async with opened(
            root / "least", language=language, limits=Limits(memory=max(little, kind.least_memory))
        ) as session:
            for code in (kind.trial, WORDS[language].setup, WORDS[language].kept):
                assert (await session(code)).status == "ok", session.text()
        if kind.least_memory > little:
            with pytest.raises(KernelError, match=r"Rust needs 0\.75 GiB of memory, and a kernel has 0\.5 GiB here"):
                async with opened(root / "less", language=language, limits=Limits(memory=little)):
                    pass

    asyncio.run(scenario())


def test_memory_is_limited(language: str, root: Path) -> None:
    async def scenario() -> None:
        before = psutil.virtual_memory().available
        limits = Limits(memory=1 << 30, cell_seconds=60)
        async with opened(root, language=language, limits=limits) as session:
            result = await session(WORDS[language].bomb)
            assert result.status in ("error", "died"), (result, session.text())
            assert before - psutil.virtual_memory().available < 4 << 30

    asyncio.run(scenario())


def test_processes_and_threads_are_limited(language: str, root: Path) -> None:
    words = WORDS[language]
    if not words.threads:
        pytest.skip("its code starts neither processes nor threads of its own")

    async def scenario() -> None:
        limits = Limits(processes=100, cell_seconds=60)
        async with opened(root, language=language, limits=limits) as session:
            if os.geteuid() == 0 and not _has_group(session):
                pytest.skip("no control group may be made here, and RLIMIT_NPROC does not bind root")
            result = await session(words.threads)
            mine = psutil.Process().children(recursive=True)
            assert sum(child.num_threads() for child in mine if child.is_running()) < 200
            assert result.status in ("ok", "error", "died"), result
            assert "false" not in session.text().split()

    asyncio.run(scenario())


def test_another_runs_socket_is_not_there(language: str, root: Path) -> None:
    async def scenario() -> None:
        one, other = FakeRun(), FakeRun()
        async with opened(root / "1", run=one) as first, opened(root / "2", run=other, language=language) as second:
            theirs = first.kernel._process.provisioner.folder / "calls.sock"  # type: ignore[attr-defined]
            assert theirs.exists()
            await second(WORDS[language].attacks["read"].replace("PATH", str(theirs)))
            assert "refused" in second.text()
            await second(WORDS[language].cells["llm_query"].code)
            assert other.prompts[:1] == ["hi"]
            assert one.prompts == []

    asyncio.run(scenario())


def _has_group(session: Session) -> bool:
    return session.kernel._process.provisioner.cgroup is not None  # type: ignore[attr-defined]
