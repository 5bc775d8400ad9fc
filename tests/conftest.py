from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the runs of tests, also of those in other processes, out of the user's own store."""
    path = tmp_path / "store" / "runs.sqlite"
    monkeypatch.setenv("KOWALSKI_STORE", str(path))
    return path
