"""One run in several languages, as a client of the service sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kowalski_jupyter.kernels.languages import FOREIGN
from tests.kernels.languages import need
from tests.service.conftest import Desk
from tests.service.test_resume import NOTES as DATA
from tests.service.test_resume import ask, ended, packed, service_on, value
from tests.support.scripted_server import Reply, ScriptedServer

Open = Callable[..., Desk]
NOTES = "one apple\ntwo apples\n"
LARGE = "qwen2.5-coder-32b-instruct"


def fence(language: str, code: str) -> str:
    return f"```{language}\n{code}\n```"


def kinds(events: list[Any], kind: str) -> list[Any]:
    return [event for event in events if event.type == kind]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that says which languages besides Python can run here."""

    def say(*languages: str) -> None:
        for language in languages:
            need(language)
        monkeypatch.setattr("kowalski_jupyter.kernels.installed.available", lambda _chosen: ("python", *languages))

    return say


def test_each_language_keeps_its_own_state_and_they_share(open_desk: Open, installed: Callable[..., None]) -> None:
    installed("javascript", "bash")
    replies = [
        fence("bash", 'count=$(grep -c apple "$notes_file"); share lines "$count"'),
        fence(
            "javascript", "let words = notes.split(' ').length; share('words', { n: words, lines: shared('lines') })"
        ),
        fence("bash", "shared words; echo $count"),
        fence("repl", "got = shared('words')"),
        fence("javascript", "FINAL([words, shared('lines')])"),
    ]
    with ScriptedServer(replies) as server:
        outcome = open_desk(server).ask("How many?", {"notes": NOTES})
        told = server.requests[3].last("user")

    assert outcome.document["state"] == "done", outcome.document
    assert outcome.value == [3, 2]
    assert '{"n": 3, "lines": 2}' in told
    assert [event.language for event in kinds(outcome.events, "kernel_ready")] == ["python", "bash", "javascript"]
    assert [event.language for event in kinds(outcome.events, "cell_started")] == [
        "bash",
        "javascript",
        "bash",
        "python",
        "javascript",
    ]


def test_a_reply_may_hold_blocks_of_several_languages(open_desk: Open, installed: Callable[..., None]) -> None:
    installed("bash")
    first = fence("repl", "share('n', 3)") + "\nand\n" + fence("bash", "shared n") + "\n" + fence("bash", "echo second")
    with ScriptedServer([first, fence("repl", "FINAL(1)")]) as server:
        outcome = open_desk(server).ask("What?", {"notes": NOTES}, profile="large_coder")
        told = server.requests[1].last("user")

    assert outcome.value == 1
    assert "3" in told
    assert [event.code for event in kinds(outcome.events, "cell_started")][:2] == ["share('n', 3)", "shared n"]
    assert "second" not in told


def test_a_kernel_starts_while_its_first_block_is_being_written(
    open_desk: Open, installed: Callable[..., None]
) -> None:
    installed("bash")
    with ScriptedServer([Reply("Look:\n```bash\ngrep ", fault="stall")]) as server:
        desk = open_desk(server)
        with desk.client.run(desk.request("How many?", {"notes": NOTES})) as batches:
            ready = (event.language for batch in batches for event in kinds(batch, "kernel_ready"))
            assert [next(ready), next(ready)] == ["python", "bash"]


def test_a_block_after_one_that_failed_is_not_run(open_desk: Open, installed: Callable[..., None]) -> None:
    installed("bash")
    first = fence("repl", "1 / 0") + "\n" + fence("bash", "echo never")
    with ScriptedServer([first, fence("repl", "FINAL(1)")]) as server:
        outcome = open_desk(server).ask("What?", {"notes": NOTES}, profile="large_coder")

    assert [event.code for event in kinds(outcome.events, "cell_started")] == ["1 / 0", "FINAL(1)"]


def test_small_models_get_one_block_and_the_prompt_that_was_measured(
    open_desk: Open, installed: Callable[..., None]
) -> None:
    installed("bash")
    first = fence("repl", "share('n', 3)") + "\n" + fence("bash", "echo never")
    with ScriptedServer([first, fence("repl", "FINAL(1)")]) as server:
        outcome = open_desk(server).ask("What?", {"notes": NOTES}, profile="small_coder")
        said = server.requests[0].messages[0]["content"]

    assert [event.language for event in kinds(outcome.events, "cell_started")] == ["python", "python"]
    assert "bash" not in said
    assert "share(" not in said


@pytest.mark.parametrize("others", [(), ("bash",), FOREIGN])
@pytest.mark.parametrize("profile", ["large_coder", "reasoning"])
def test_prompts_speak_of_the_languages_that_are_there(
    open_desk: Open, monkeypatch: pytest.MonkeyPatch, profile: str, others: tuple[str, ...]
) -> None:
    monkeypatch.setattr("kowalski_jupyter.kernels.installed.available", lambda _: ("python", *others))
    with ScriptedServer([fence("repl", "FINAL(1)")]) as server:
        open_desk(server).ask("What?", {"notes": NOTES}, profile=profile)
        said = server.requests[0].messages[0]["content"]

    assert {language for language in FOREIGN if f"```{language}:" in said} == set(others)
    assert ("share(" in said) == bool(others)


def test_a_language_that_is_missing_is_told_to_the_model_and_to_the_user(
    open_desk: Open, installed: Callable[..., None]
) -> None:
    installed()
    with ScriptedServer([fence("rust", "1 + 1"), fence("rust", "2 + 2"), fence("repl", "FINAL(5)")]) as server:
        outcome = open_desk(server).ask("What?", {"notes": NOTES})
        told = server.requests[1].last("user")

    assert outcome.value == 5
    assert "no rust kernel" in told
    assert [event.text for event in kinds(outcome.events, "notice")] == [
        "The model wrote rust, which has no kernel here; `jupyter kowalski kernels add rust` installs one."
    ]


def test_a_kernel_that_dies_is_replaced_and_the_others_stay(open_desk: Open, installed: Callable[..., None]) -> None:
    installed("bash")
    replies = [
        fence("repl", "kept = 1"),
        fence("bash", "kill -KILL $$"),
        fence("bash", 'echo "alive $notes"'),
        fence("repl", "FINAL(kept)"),
    ]
    with ScriptedServer(replies) as server:
        outcome = open_desk(server).ask("What?", {"notes": NOTES})
        told = [server.requests[turn].last("user") for turn in (2, 3)]

    assert outcome.value == 1
    assert "kernel ended" in told[0]
    assert "alive one apple" in told[1]


def test_a_kernel_that_does_not_start_is_an_error_of_the_cell(open_desk: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kowalski_jupyter.kernels.installed.available", lambda _: ("python", "bash"))
    monkeypatch.setattr("kowalski_jupyter.kernels.pool.find", lambda *_: None)
    with ScriptedServer([fence("bash", "echo 1"), fence("repl", "FINAL(2)")]) as server:
        outcome = open_desk(server).ask("What?", {"notes": NOTES})
        told = server.requests[1].last("user")

    assert outcome.value == 2
    assert "not installed" in told


def test_a_run_in_two_languages_is_replayed(tmp_path: Path, installed: Callable[..., None]) -> None:
    installed("bash")

    async def main(server: ScriptedServer) -> None:
        async with service_on(server, tmp_path) as service:
            first = await ask(service, profile="large_coder")
            live = await ended(service.replay(first.id, packed(service.data_root, DATA)))
            assert value(first) == value(live) == 4
            assert service.replay_report(live.id)["same"]

    replies = [
        fence("repl", "share('n', 3)") + "\n" + fence("bash", "share m $(($(shared n) + 1))"),
        fence("repl", "FINAL(shared('m'))"),
    ]
    with ScriptedServer(replies) as server:
        asyncio.run(main(server))
