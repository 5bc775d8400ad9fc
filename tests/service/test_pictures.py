"""Pictures that code draws: the user sees them, and so does a model that can."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from tests.service.conftest import Desk
from tests.support.scripted_server import Request, ScriptedServer

Open = Callable[..., Desk]

DRAW = "```repl\nimport matplotlib.pyplot as plt\nplt.plot([1, 2, 3])\nplt.show()\n```"


@pytest.mark.parametrize(("options", "seen"), [({}, False), ({"images": True}, True)])
def test_a_model_that_sees_is_shown_what_its_code_draws(open_desk: Open, options: dict[str, bool], seen: bool) -> None:
    def script(request: Request) -> str:
        return DRAW if request.number == 1 else "```repl\nFINAL('rising')\n```"

    with ScriptedServer(script) as server:
        outcome = open_desk(server).ask("What does it look like?", {"notes": "1 2 3"}, **options)
        first, second = (request.messages[-1]["content"] for request in server.requests)

    assert outcome.value == "rising"
    assert isinstance(first, str)
    if seen:
        text, image = second
        head, data = image["image_url"]["url"].split(",")
        assert head == "data:image/png;base64"
        assert base64.b64decode(data).startswith(b"\x89PNG")
    else:
        text = {"type": "text", "text": second}
    assert text["type"] == "text"
    assert "pixels, shown to the user]" in text["text"]
    (shown,) = [output for output in outcome.document["turns"][0]["parts"][0]["outputs"] if output["rich"]]
    assert shown["rich"]["mime"] == "image/png"


def test_an_answer_that_is_a_figure_is_shown_as_one(open_desk: Open) -> None:
    code = "import matplotlib.pyplot as plt\nfigure, axes = plt.subplots()\naxes.plot([1, 2])\nFINAL(figure)"
    with ScriptedServer([f"```repl\n{code}\n```"]) as server:
        outcome = open_desk(server).ask("Draw it.", {"notes": "1"})

    answer = outcome.document["answer"]
    assert answer["rich"]["mime"] == "image/png"
    assert base64.b64decode(answer["rich"]["data"]) == outcome.value.png
    assert "Picture" in answer["text"] or "Figure" in answer["text"]


def test_a_model_says_by_its_name_that_it_sees(open_desk: Open) -> None:
    with ScriptedServer([DRAW, "```repl\nFINAL(1)\n```"], models=["mlx-community/Qwen2.5-VL-7B-4bit"]) as server:
        open_desk(server).ask("What?", {"notes": "1"})
        assert isinstance(server.requests[1].messages[-1]["content"], list)
