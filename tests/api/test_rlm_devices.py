"""Devices and models from Python, on a simulated cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kowalski_jupyter import RLM, RlmError
from kowalski_jupyter.service.config import Kowalski
from kowalski_jupyter.service.connect import SOCKET_VARIABLE, TOKEN_VARIABLE
from kowalski_jupyter.service.host import ThreadHost
from tests.support.simulated import HUGE, SMALL, simulated


@pytest.fixture(scope="module")
def rlm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RLM]:
    folder = tmp_path_factory.mktemp("service")
    with simulated() as sim, pytest.MonkeyPatch.context() as patch:
        settings = {"devices": [sim.url], "store": ":memory:", "data_root": str(folder / "runs"), "embedded": False}
        host = ThreadHost(Kowalski(known_devices=str(folder / "devices.json"), **settings))
        patch.setenv(SOCKET_VARIABLE, host.socket)
        patch.setenv(TOKEN_VARIABLE, host.token)
        try:
            with RLM(model=SMALL) as rlm:
                yield rlm
        finally:
            host.close()


def test_a_model_is_loaded_used_and_unloaded(rlm: RLM) -> None:
    assert [model["id"] for model in rlm.models()] == [SMALL, HUGE]
    steps: list[tuple[str, int | None, int | None]] = []
    instance = rlm.load(SMALL, on_progress=lambda *step: steps.append(step))
    assert (instance["state"], instance["devices"], instance["sharding"]) == ("ready", ["studio"], "pipeline")
    assert steps[0] == (f"loading {SMALL} on studio", None, None)
    assert any(done for _, done, _ in steps)

    on_studio = [device["instances"] for device in rlm.devices()["devices"] if device["name"] == "studio"]
    assert [each["id"] for each in on_studio[0]] == [instance["id"]]
    assert rlm.run("Say something").text == "from exo"

    assert rlm.unload(instance["id"]) == 1
    assert all(device["instances"] == [] for device in rlm.devices()["devices"])


def test_what_cannot_be_is_told_in_one_line(rlm: RLM) -> None:
    for ask, said in (
        (lambda: rlm.load(HUGE), "cannot be placed"),
        (lambda: rlm.load(" "), "Say which model"),
        (lambda: rlm.load(SMALL, min_nodes=0), "a whole number from 1 up"),
        (lambda: rlm.load(SMALL, sharding="thin"), "auto, pipeline, tensor"),  # type: ignore[arg-type]
        (lambda: rlm.unload("nothing"), "is not loaded"),
    ):
        with pytest.raises(RlmError) as refused:
            ask()
        assert said in str(refused.value)
        assert "\n" not in str(refused.value)
