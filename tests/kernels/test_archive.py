"""Java's archive of classes: made once, used by each kernel, and needed by none."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from kowalski_jupyter.kernels.base import Limits
from kowalski_jupyter.kernels.installed import find
from kowalski_jupyter.kernels.languages import LANGUAGES
from kowalski_jupyter.kernels.languages.archive import make, path_of

from .languages import need
from .support import opened


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where the archive belongs, in a cache of its own that is empty."""
    need("java")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    installed = find("java")
    assert installed is not None
    return path_of(str(LANGUAGES["java"].command(installed.argv, Limits())[0]), installed.argv[-2])


async def used(root: Path, archive: Path) -> bool:
    """Return whether a new kernel, which has to work, has mapped the archive."""
    async with opened(root, language="java") as session:
        cell = f'Files.readString(Path.of("/proc/self/maps")).contains({json.dumps(str(archive))})'
        return await session.value(cell) == "true"


def test_it_is_made_once_and_used(archive: Path, root: Path) -> None:
    archive.parent.mkdir(parents=True)
    older = archive.with_name(f"{archive.name.rpartition('-')[0]}-0.jsa")
    others = archive.with_name("java-0-0.jsa")
    for file in (older, others):
        file.touch()
    assert asyncio.run(used(root / "1", archive))
    made = archive.stat().st_mtime_ns
    assert asyncio.run(used(root / "2", archive))
    assert archive.stat().st_mtime_ns == made
    assert sorted(file.name for file in archive.parent.glob("*.jsa")) == sorted([archive.name, others.name])
    assert not [*archive.parent.glob("java-*/archive")], "a folder of the making is still there"


@pytest.mark.parametrize("content", [b"", b"no archive" * 100_000, b"\xf0\x0b\xab\xa8" + bytes(5000)])
def test_a_bad_one_keeps_no_kernel_from_starting(content: bytes, archive: Path, root: Path) -> None:
    archive.parent.mkdir(parents=True)
    archive.write_bytes(content)
    assert not asyncio.run(used(root, archive))


def test_a_kernel_that_cannot_make_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "cache" / "java-1-2.jsa"
    for _ in range(2):
        make(path, ["false", "{connection_file}"], {}, ["1"])
    assert not [*path.parent.iterdir()]
    assert [record.message.partition(",")[0] for record in caplog.records] == [
        "Java's kernel starts slower than it could"
    ]
