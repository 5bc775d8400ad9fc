"""Whatever is given for a run's id is an id, and nothing else of the service's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kowalski_jupyter import RLM, RlmError
from tests.service.conftest import Desk
from tests.support.scripted_server import ScriptedServer


@pytest.mark.parametrize("wrong", ["", "a/b", "a b", "#x", "?x", "%2e", "..", "../status", "é\udc80\0"])
def test_what_is_no_id_is_said_to_be_none(serve: Callable[..., Desk], wrong: str) -> None:
    with ScriptedServer([]) as server:
        serve(server)
        with RLM() as rlm:
            for ask in (rlm.document, rlm.attach, rlm.cancel, lambda run: rlm.export(run, "jsonl"), rlm.replay):
                with pytest.raises(RlmError, match=r"^There is no run '.*' here\. `%rlm runs` lists"):
                    ask(wrong)
