from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.scripted_server import ScriptedServer

pytest_plugins = ["pytest_jupyter.jupyter_server"]


@pytest.fixture
def model_server() -> Iterator[ScriptedServer]:
    with ScriptedServer(["Hello there."]) as server:
        yield server


@pytest.fixture
def jp_server_config(model_server: ScriptedServer, tmp_path: Path) -> dict[str, Any]:
    return {
        "ServerApp": {
            "jpserver_extensions": {"kowalski_jupyter": True},
            "allow_unauthenticated_access": False,
        },
        "Kowalski": {"url": model_server.url, "data_root": str(tmp_path / "runs"), "spares": 0},
    }


@pytest.fixture(autouse=True)
def announced_socket_goes_with_the_server() -> Iterator[None]:
    yield
    assert "KOWALSKI_SOCKET" not in os.environ
