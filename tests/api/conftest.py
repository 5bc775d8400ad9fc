from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kowalski_jupyter.service.connect import SOCKET_VARIABLE, TOKEN_VARIABLE
from tests.service.conftest import Desk, open_desk
from tests.support.scripted_server import ScriptedServer
from tests.support.zygotes import one_zygote

__all__ = ["one_zygote", "open_desk", "serve"]


@pytest.fixture
def serve(open_desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Desk]:
    """A function that starts a service on a scripted server and announces it, so that `RLM()` finds it."""

    def serve_(server: ScriptedServer, **settings: Any) -> Desk:
        desk = open_desk(server, **settings)
        monkeypatch.setenv(SOCKET_VARIABLE, desk.host.socket)
        monkeypatch.setenv(TOKEN_VARIABLE, desk.host.token)
        return desk

    return serve_
