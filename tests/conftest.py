from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what tests store, also those in other processes, out of the user's own folders."""
    path = tmp_path / "store" / "runs.sqlite"
    monkeypatch.setenv("KOWALSKI_STORE", str(path))
    monkeypatch.setenv("KOWALSKI_KNOWN_DEVICES", str(tmp_path / "store" / "devices.json"))
    return path
