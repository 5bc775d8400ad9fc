"""A Jupyter server that is killed leaves no process behind, whatever was going on in it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from jupyter_client.blocking.client import BlockingKernelClient

from tests.support.scripted_server import ScriptedServer

ROOT = Path(__file__).parents[2]
TOKEN = "only-for-this-test"  # noqa: S105


def until(condition: Callable[[], Any], seconds: float = 90.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition did not come about"
        time.sleep(0.05)
    return value


@pytest.fixture
def model() -> Iterator[ScriptedServer]:
    with ScriptedServer(["```repl\nllm_query('started')\nimport time\ntime.sleep(100)\n```", "yes"]) as server:
        yield server


@pytest.fixture
def jupyter(tmp_path: Path, model: ScriptedServer) -> Iterator[tuple[psutil.Process, str]]:
    """A Jupyter server with the extension: its process and its URL."""
    config = {
        "ServerApp": {"jpserver_extensions": {"kowalski_jupyter": True}, "open_browser": False, "allow_root": True},
        "Kowalski": {"data_root": str(tmp_path / "runs")},
    }
    (tmp_path / "jupyter_server_config.json").write_text(json.dumps(config))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "jupyter", "server", f"--port={port}", f"--IdentityProvider.token={TOKEN}"),
            f"--ServerApp.root_dir={tmp_path}",
        ],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "KOWALSKI_URL": model.url,
            "JUPYTER_CONFIG_DIR": str(tmp_path),
            "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
            "TMPDIR": str(tmp_path),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield psutil.Process(process.pid), f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def start_kernel(url: str, runtime: Path) -> BlockingKernelClient:
    """Start a kernel through the server and connect to it directly."""

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/api").is_success
        except httpx.TransportError:
            return False

    until(answers)
    kernel = httpx.post(f"{url}/api/kernels", headers={"Authorization": f"token {TOKEN}"}, json={}).json()["id"]
    client = BlockingKernelClient(connection_file=str(runtime / f"kernel-{kernel}.json"))
    client.load_connection_file()
    client.start_channels()
    client.wait_for_ready(timeout=90)
    return client


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the client's sockets, to a kernel that is killed on purpose
def test_nothing_outlives_a_killed_server(
    tmp_path: Path, model: ScriptedServer, jupyter: tuple[psutil.Process, str]
) -> None:
    server, url = jupyter
    client = start_kernel(url, tmp_path / "runtime")
    client.execute("%load_ext kowalski_jupyter\nnotes = 'n'\nget_ipython().run_cell_magic('rlm', 'notes', 'What?')")
    model.wait_for(lambda: len(model.requests) == 2, timeout=90)
    children = server.children(recursive=True)
    assert any("bwrap" in child.name() for child in children)

    server.send_signal(signal.SIGKILL)
    client.stop_channels()

    until(lambda: not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE])
    model.wait_for(lambda: not model.open_connections)
