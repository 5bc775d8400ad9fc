from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# The plugin's fixtures and hooks, for this folder alone: `pytest_plugins` would give its event loop to all tests.
from pytest_jupyter.jupyter_core import *  # noqa: F403
from pytest_jupyter.jupyter_server import *  # noqa: F403

from tests.support.scripted_server import ScriptedServer


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
def started(jp_serverapp: Any, jp_asyncio_loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """The plugin initialises the server but does not start its extensions; what they announce goes with them."""
    jp_asyncio_loop.run_until_complete(jp_serverapp.extension_manager.start_all_extensions())
    assert "KOWALSKI_SOCKET" in os.environ
    yield
    jp_asyncio_loop.run_until_complete(jp_serverapp.cleanup_extensions())
    assert "KOWALSKI_SOCKET" not in os.environ
