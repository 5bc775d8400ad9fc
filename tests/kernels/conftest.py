from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.zygotes import one_zygote

__all__ = ["one_zygote"]


def _group_names() -> set[str]:
    own = f"kowalski-{psutil.Process().pid}-"
    # Others' groups come and go meanwhile: os.walk does not mind.
    return {name for _, names, _ in os.walk("/sys/fs/cgroup") for name in names if name.startswith(own)}


def _names(process: psutil.Process, folder: Path) -> bool:
    """Whether something in the folder is named by a process whose parent may be gone."""
    return any(str(folder) in word for word in process.info["cmdline"] or ())


def _left_over(folder: Path) -> dict[str, object]:
    process = psutil.Process()
    return {
        "orphans": {found.pid for found in psutil.process_iter(["cmdline"]) if _names(found, folder)},
        "processes": {child.pid for child in process.children(recursive=True)},
        "sockets": len([c for c in process.net_connections("unix") if "kowalski" in str(c.laddr)]),
        "folders": {path.name for path in folder.iterdir()},
        "threads": {thread.name for thread in threading.enumerate()},
        "groups": _group_names(),
    }


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give tests a temporary folder with a short path, and see that nothing is left after them."""
    assert tmp_path.exists()  # made before the temporary folder moves
    place = Path(tempfile.mkdtemp(prefix="kt-", dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    before = _left_over(place)
    yield place
    deadline = time.monotonic() + 30
    while (after := _left_over(place)) != before and time.monotonic() < deadline:
        time.sleep(0.02)
    shutil.rmtree(place)
    assert after == before


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder for runs' data."""
    return tmp_path / "kernels"
