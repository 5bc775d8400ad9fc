"""Java's archive of classes: made once, used by each kernel, and needed by none."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kowalski_jupyter.kernels.base import Limits
from kowalski_jupyter.kernels.installed import find
from kowalski_jupyter.kernels.languages import LANGUAGES
from kowalski_jupyter.kernels.languages.archive import Archive

from .languages import need
from .support import opened


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of archives, which is empty."""
    need("java")
    LANGUAGES["java"].environment(Limits())  # the run's functions stay where they are
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kowalski-jupyter"


async def used(root: Path) -> str:
    """Return the archive of ours that a new kernel, which has to work, has mapped."""
    async with opened(root, language="java") as session:
        lines = 'Files.readString(Path.of("/proc/self/maps")).lines()'
        cell = f'{lines}.filter(l -> l.contains("/java-") && l.endsWith(".jsa") && !l.contains("/jvm/"))'
        found = await session.value(
            f'{cell}.map(l -> l.replaceAll(".* ", "")).distinct().collect(Collectors.joining())'
        )
        return found.strip("'\"")


def test_it_is_made_once_and_used(cache: Path, root: Path) -> None:
    path = asyncio.run(used(root / "1"))
    archive = Path(path)
    made = archive.stat().st_mtime_ns
    older = archive.with_name(f"{'-'.join(archive.name.split('-')[:2])}-0-0.jsa")
    others = archive.with_name("java-0-0-0.jsa")
    for file in (older, others):
        file.touch()
    assert asyncio.run(used(root / "2")) == path
    assert archive.stat().st_mtime_ns == made
    archive.write_bytes(archive.read_bytes()[:3_000_000])
    again = Path(asyncio.run(used(root / "3")))
    assert again.stat().st_mtime_ns > made
    assert sorted(cache.iterdir()) == sorted([again, others])


@pytest.mark.parametrize("content", [b"", b"no archive" * 100_000, b"\xf0\x0b\xab\xa8" + bytes(5000)])
def test_a_bad_one_keeps_no_kernel_from_starting(content: bytes, cache: Path, root: Path) -> None:
    installed = find("java")
    assert installed is not None
    archive = Archive(LANGUAGES["java"].command(installed.argv, Limits())[0], installed.argv[-2])
    cache.mkdir(parents=True)
    path = cache / f"java-{archive._which}-{archive._state}-{len(content)}.jsa"
    path.write_bytes(content)
    assert archive.path == path
    assert asyncio.run(used(root)) == ""


def test_a_kernel_that_cannot_make_it(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    archive = Archive("false", "no.jar")
    for _ in range(2):
        archive.make(["false", "{connection_file}"], {}, ["1"])
    assert archive.path is None
    assert not [*cache.iterdir()]
    assert len(caplog.records) == 1
    assert "slower than it could" in caplog.records[0].message
