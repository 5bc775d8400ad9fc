"""`%rlm devices`, `models`, `load`, `unload` in a real kernel, on a simulated cluster."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.magics.conftest import Run, error_of
from tests.support.scripted_server import ScriptedServer
from tests.support.simulated import GIB, HUGE, SMALL, simulated

NO_URL = SimpleNamespace(url="")


def printed(cell: Any) -> str:
    return "".join(output.get("text", "") for output in cell.outputs)


def test_devices_are_shown_with_what_runs_on_them(notebook: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with simulated() as sim:
        monkeypatch.setenv("KOWALSKI_DEVICES", sim.urls[1])
        cells = ("%rlm devices", "%rlm load small-1b-4bit", "%rlm devices", f"%rlm unload {SMALL}", "%rlm models")
        book = notebook(NO_URL, *cells)
    first, loaded, second, unloaded, models = (printed(cell) for cell in book.cells[1:])

    lines = [line for line in first.splitlines() if "·" in line]
    assert [line.split()[0] for line in lines] == ["air", "box", "studio"]
    air, box, studio = lines
    assert "Mac Studio, Apple M3 Ultra" in studio
    assert "40.0 of 64.0 GB memory free" in studio
    assert "°C" in studio
    assert "answers in" in studio
    assert "on battery" in air
    assert "°C" not in box  # exo on Linux reports no sensors, and none are made up
    assert f"loading {SMALL} on studio" in loaded
    assert loaded.endswith(f"{SMALL} is ready on studio.\n")
    assert f"{SMALL}: ready" in second
    assert unloaded.endswith(f"{SMALL} is unloaded.\n")
    assert f"{SMALL}  (on a disk, fits on one device" in models
    assert "1 are too large" in models or "too large for the memory that is free" in models


def test_why_a_model_is_not_loaded_is_one_line(notebook: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with simulated() as sim:
        monkeypatch.setenv("KOWALSKI_DEVICES", sim.url)
        cells = (f"%rlm load {HUGE}", f"%rlm load {SMALL} --min-nodes 0", f"%rlm load {SMALL} --sharding thin")
        book = notebook(NO_URL, *cells, "%rlm unload nothing", allow_errors=True)
    huge, nodes, sharding, nothing = (error_of(cell) for cell in book.cells[1:])

    assert f"{HUGE} cannot be placed" in huge
    assert "0 is not above zero" in nodes
    assert "thin" in sharding
    assert "nothing is not loaded. Nothing is loaded." in nothing


def test_without_a_cluster_the_commands_say_how_to_get_one(notebook: Run) -> None:
    book = notebook(NO_URL, "%rlm devices", "%rlm models")

    assert "No devices yet" in printed(book.cells[1])
    assert "c.Kowalski.devices" in printed(book.cells[2])


def test_models_of_clusters_and_of_other_servers_are_listed(notebook: Run) -> None:
    tags = {"models": [{"name": "qwen3:4b", "size": 3 * GIB}, {"name": "llama3:8b", "size": 5 * GIB}]}
    running = {"models": [{"name": "qwen3:4b"}]}
    routes = {"/api/version": {"version": "0.9"}, "/api/tags": tags, "/api/ps": running}
    with (
        simulated() as sim,
        ScriptedServer(models=["big", "small"]) as plain,
        ScriptedServer(routes=routes) as ollama,
    ):
        gone = SimpleNamespace(url=f"{sim.urls[1]}, {plain.url} {ollama.url},http://127.0.0.1:9")
        models = printed(notebook(gone, "%rlm models").cells[1])

    heads = [line for line in models.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert heads[0] == "exo (studio, air and box):"
    assert heads[-2:] == [f"127.0.0.1:{plain.port}:", f"Ollama at 127.0.0.1:{ollama.port}:"]
    assert "big  (ready)" in models
    assert "    3.0 GB  qwen3:4b  (ready, on a disk)" in models
    assert "    5.0 GB  llama3:8b  (on a disk)" in models


def test_a_run_has_the_model_loaded_that_it_asks_for(notebook: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with simulated() as sim:
        monkeypatch.setenv("KOWALSKI_DEVICES", sim.url)
        monkeypatch.setenv("KOWALSKI_MODEL", SMALL)
        book = notebook(NO_URL, "%%rlm -o answer\nSay something", "print(answer)", "%rlm show")

    assert printed(book.cells[2]) == "from exo\n"
    shown = book.cells[3].outputs[0]["data"]["application/vnd.kowalski.run+json"]
    assert any("asked to load it" in notice for notice in shown["notices"]), shown["notices"]
    assert shown["model"]["name"] == SMALL


def test_the_widget_shows_devices_and_what_becomes_of_them(notebook: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ipywidgets")
    wait = (
        "import time\ndeadline = time.monotonic() + 120\n"
        f"while '{SMALL}: ready' not in watch.text:\n    assert time.monotonic() < deadline\n    time.sleep(0.1)\n"
        "watch.close()"
    )
    with simulated() as sim:
        monkeypatch.setenv("KOWALSKI_DEVICES", sim.url)
        book = notebook(NO_URL, "watch = %rlm watch\nwatch", f"%rlm load {SMALL}", wait)

    data = book.cells[1].outputs[-1]["data"]
    assert "application/vnd.jupyter.widget-view+json" in data
    states = book.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"].values()
    shown = [state["state"].get("value") for state in states]
    assert "✓ studio: ok" in shown
    assert f"{SMALL}: ready" in shown
    assert pytest.approx(24 / 64) in [value for value in shown if isinstance(value, float)]


def test_where_requests_went_and_why_is_said_in_words(notebook: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with simulated() as sim:
        monkeypatch.setenv("KOWALSKI_DEVICES", sim.url)
        monkeypatch.setenv("KOWALSKI_MODEL", SMALL)
        cells = ("%rlm devices --why", "%%rlm -o answer\nSay something", "%rlm devices --why", "%rlm devices --how")
        book = notebook(NO_URL, *cells, allow_errors=True)
    before, _, why, wrong = book.cells[1:]

    assert "Nothing was sent to several places yet" in printed(before)
    assert "a turn went to exo (studio): the only one that answers: replies not measured yet" in printed(why)
    assert "0 of 8 places taken" in printed(why)
    assert "Usage: `%rlm devices [--why]`" in error_of(wrong)
