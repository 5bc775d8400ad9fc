"""Answers that take room: kept by the store, or said not to be."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kowalski_jupyter import RLM, RlmError
from tests.service.conftest import Desk
from tests.support.scripted_server import ScriptedServer


def test_an_answer_beyond_what_is_kept_is_made_again_by_a_replay(serve: Callable[..., Desk]) -> None:
    size = 65 << 20
    with ScriptedServer(["```repl\nFINAL('y' * size)\n```"]) as server:
        desk = serve(server)
        with RLM() as rlm:
            run = rlm.run("What?", size=size).run
        desk.host.close()
        serve(server)
        with RLM() as rlm:
            with pytest.raises(RlmError, match=rf"too large to be kept; `%rlm replay {run}` makes it again\."):
                rlm.attach(run)
            assert len(rlm.replay(run, {"size": size}).value) == size
