"""Options of `%%rlm`, and what `%rlm` does with runs that go on or have ended, in real kernels."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from kowalski_jupyter.api.bundle import MIME_TYPE
from tests.magics.conftest import Run, block, book_of, bundle_of, check_mistakes, error_of
from tests.support.scripted_server import Reply, ScriptedServer

NOTES = "notes = 'x' * 1234"
RLM = """
from kowalski_jupyter import RLM
import time
rlm = RLM()
def magic(line): get_ipython().run_line_magic('rlm', line)
def newest(): return rlm.status()['runs'][0]['id']
def asked(run):
    deadline = time.monotonic() + 120
    while rlm.document(run)['approval'] is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
"""


def shown(cell: nbformat.NotebookNode) -> str:
    return str(cell.outputs[-1].data["text/plain"])


# -- options -------------------------------------------------------------------------------------------


COUNT = """
from pydantic import BaseModel, field_validator
class Count(BaseModel):
    n: int
    @field_validator('n')
    @classmethod
    def check(cls, n):
        assert n > 1000, 'too few'
        return n
"""


def test_a_pydantic_model_by_name_gives_an_instance(notebook: Run) -> None:
    pytest.importorskip("pydantic")
    with ScriptedServer([block(f"FINAL({{'n': {n}}})") for n in ("'x'", "7", "len(notes)")]) as server:
        book = notebook(server, NOTES, COUNT, "%%rlm notes -o answer --schema Count\nHow long?", "answer")
        told = [request.last("user") for request in server.requests]

    assert shown(book.cells[4]) == "Count(n=1234)"
    assert "'x' is not of type 'integer'" in told[1]
    assert "The answer was not taken: 1 validation error for Count n Assertion failed, too few" in told[2]


def test_the_best_that_there_was_is_bound_and_said(notebook: Run) -> None:
    with ScriptedServer([block("print('nearly')")]) as server:
        book = notebook(server, NOTES, "%%rlm notes -o answer --max-turns 2\nWhat?", "answer", allow_errors=True)

    assert "answer holds the best that there was." in error_of(book.cells[2])
    assert "nearly" in shown(book.cells[3])


def test_an_answer_that_cannot_be_read_binds_nothing(notebook: Run) -> None:
    unreadable = "{'kind': 'numpy', 'type': 'ndarray', 'text': 'array([1])', 'data': 'bm9uZQ=='}"
    with ScriptedServer([block(f"FINAL.__self__._answer = {unreadable}")]) as server:
        book = notebook(server, NOTES, "answer = 'mine'\n", "%%rlm notes -o answer\nWhat?", "answer", allow_errors=True)

    assert "The answer (numpy) cannot be read" in error_of(book.cells[3])
    assert "holds the best" not in error_of(book.cells[3])
    assert shown(book.cells[4]) == "'mine'"


MISTAKES = [
    ("%%rlm notes --schema notes\nWhat?", "not a str"),
    ("%%rlm notes --schema wrong\nWhat?", "Not a JSON Schema"),
    ("%%rlm notes --schema Note\nWhat?", "There is no variable Note here. Did you mean notes?"),
    ("%%rlm notes --step\nWhat?", "nobody can be asked here"),
    ("%%rlm notes --detach -o got\nWhat?", "`%rlm attach ID -o got`"),
    ("%%rlm notes --profile tiny\nWhat?", "profile must be one of small_coder"),
    ("%%rlm notes --depth -1\nWhat?", "depth must be a whole number"),
    ("%%rlm notes --prompt /nowhere\nWhat?", "/nowhere cannot be read"),
    ("%rlm tell r-000000", "%rlm tell ID TEXT"),
    ("%rlm tell r-000000 don't", "no run 'r-000000'"),
    ("%rlm allow r-000000", "Say what to raise"),
    ("%rlm allow r-000000 --max-turns x", "is not a whole number"),
    ("%rlm step r-000000 maybe", "run, edit or skip"),
    ("%rlm step r-000000 run", "no run 'r-000000'"),
    ("%rlm resume r-000000", "no run 'r-000000'"),
    ("%rlm resume r-000000 --edit", "--edit needs to know which turn"),
    ("%rlm replay", "Usage: `%rlm replay ID"),
    ("%rlm export r-000000 --notebook a --jsonl b", "not allowed with"),
    ("%rlm show 'r", "No closing quotation"),
    ("%%rlm_reply r-000000\nx", "the following arguments are required: turn"),
    ("%%rlm_code\nx", "Usage: %%rlm_code ID"),
]


def test_mistakes_are_one_line(notebook: Run) -> None:
    check_mistakes(notebook, f"{NOTES}\nwrong = {{'type': 'strnig'}}", MISTAKES)


# -- steering ------------------------------------------------------------------------------------------


def test_a_detached_run_is_steered_from_other_cells(notebook: Run) -> None:
    with ScriptedServer([block("a = 1"), block("FINAL(2)")]) as server:
        book = notebook(
            server,
            NOTES,
            RLM,
            "%%rlm notes --detach --step --max-turns 1\nWhat?",
            "run = newest()\nasked(run)\nmagic(f\"tell {run} don't forget\")\nmagic(f'allow {run} --max-turns 5')",
            "magic(f'step {run} run')\nasked(run)\nmagic(f'step {run} edit')",
            "get_ipython().run_cell_magic('rlm_code', run, 'FINAL(3)')",
            "magic(f'attach {run} -o answer')\nlast = %rlm last\n(answer, last.value)",
            "magic(f'cancel {run}')",
        )
        told = server.requests[1].last("user")

    assert "don't forget" in told
    assert shown(book.cells[7]) == "(3, 3)"
    assert "has ended before: done." in error_of(book.cells[8])


def test_an_interrupted_attach_says_that_the_run_goes_on(notebook: Run) -> None:
    interrupt = (
        "import _thread\nattach = RLM.attach\n"
        "def attach_and_interrupt(self, run):\n    _thread.interrupt_main()\n    return attach(self, run)\n"
        "RLM.attach = attach_and_interrupt"
    )
    with ScriptedServer([Reply("word " * 1000, token_delay=0.05)]) as server:
        book = notebook(
            server,
            NOTES,
            RLM,
            "%%rlm notes --detach\nWhat?",
            interrupt,
            "%rlm attach",
            "state = rlm.status()['runs'][0]['state']\nmagic(f'cancel {newest()}')\nstate",
            allow_errors=True,
        )
    (error,) = [output for output in book.cells[5].outputs if output.output_type == "error"]

    assert "goes on. `%rlm attach r-" in "".join(error.traceback)
    assert shown(book.cells[6]) in ("'starting'", "'running'")
    assert "is stopped." in error_of(book.cells[6])


def test_a_run_that_asks_goes_on_only_where_somebody_can_be_asked(notebook: Run) -> None:
    with ScriptedServer([block("a = 1"), block("FINAL(a)")]) as server:
        book = notebook(
            server,
            NOTES,
            RLM,
            "%%rlm notes --detach --step\nWhat?",
            "run = newest()\nasked(run)\nmagic(f'step {run} run')\nasked(run)\nmagic(f'cancel {run}')",
            "magic(f'resume {run}')",
            allow_errors=True,
        )

    assert "where you can type" in error_of(book.cells[5])


def test_blocks_are_asked_about_in_the_cell(notebook: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A front end with a keyboard: nbclient, given something that answers."""
    del notebook  # for its environment
    answers = iter(["", "e", "b = a + 40", "FINAL(b)", ".", "s", "what", ""])
    prompts: list[str] = []

    class Typing(NotebookClient):  # type: ignore[misc]
        """Types an answer to each question."""

        async def async_start_new_kernel_client(self) -> object:
            client = await super().async_start_new_kernel_client()
            client.allow_stdin = True
            return client

        async def _async_poll_for_reply(self, *args: object, **kwargs: object) -> object:
            async def type_answers() -> None:
                while True:
                    message = await self.kc.get_stdin_msg(timeout=None)
                    prompts.append(message["content"]["prompt"])
                    self.kc.input(next(answers))

            typing = asyncio.ensure_future(type_answers())
            try:
                return await super()._async_poll_for_reply(*args, **kwargs)
            finally:
                typing.cancel()

    with ScriptedServer([block("a = 1"), block("FINAL(a)")]) as server:
        monkeypatch.setenv("KOWALSKI_URL", server.url)
        book = book_of(NOTES, "%%rlm notes -o answer --step\nWhat?", "answer")
        Typing(book, timeout=None).execute()

    assert shown(book.cells[3]) == "41"
    assert prompts[0].startswith("Enter runs it")
    assert "a = 1" in "".join(output.get("text", "") for output in book.cells[2].outputs)


# -- recorded runs -------------------------------------------------------------------------------------


def test_a_run_goes_on_after_its_limit_and_is_replayed_and_exported(notebook: Run, tmp_path: Path) -> None:
    with ScriptedServer([block("a = 41"), block("FINAL(a + 1)")]) as server:
        book = notebook(
            server,
            NOTES,
            RLM,
            "%%rlm notes --max-turns 1\nWhat?",
            "run = newest()\nmagic(f'allow {run} --max-turns 9')",
            "kept = notes\ndel notes\nmagic(f'resume {run}')",
            "notes = kept\nmagic(f'resume {run} --max-turns 5 -o answer')",
            "answer",
            f"magic(f'export {{newest()}} --notebook {tmp_path}/run.ipynb')",
            f"magic(f'export {{newest()}} --jsonl {tmp_path}/run.jsonl')",
            f"magic(f'export {{newest()}} --jsonl {tmp_path}/run.jsonl')",
            "magic(f'replay {newest()} -o again')\nagain",
            allow_errors=True,
        )
        count = len(server.requests)

    assert "`%rlm resume r-" in error_of(book.cells[3])
    assert "has ended" in error_of(book.cells[4])
    assert "`%rlm resume r-" in error_of(book.cells[4])
    assert "there is no notes here. Run the cell that defines it" in error_of(book.cells[5])
    assert shown(book.cells[7]) == "42"
    assert nbformat.read(tmp_path / "run.ipynb", as_version=4).cells
    assert next(json.loads(line)["type"] for line in (tmp_path / "run.jsonl").read_text().splitlines()) == "metadata"
    assert "is there already" in error_of(book.cells[10])
    assert count == 2


def test_an_edited_reply_branches_off(notebook: Run) -> None:
    with ScriptedServer([block("a = 1"), block("FINAL(a)")]) as server:
        book = notebook(
            server,
            NOTES,
            RLM,
            "%%rlm notes\nWhat?",
            "run = newest()\nmagic(f'resume {run} --turn 1 --edit -o answer')",
            "written = []\nget_ipython().set_next_input = lambda text, replace=False: written.append(text)\n"
            "magic(f'resume {run} --turn 1 --edit -o answer --max-tokens-in 90000')\n"
            "head, _, body = written[0].partition('\\n')\n(head, body)",
            "magic_line = head.removeprefix('%%rlm_reply ')\n"
            "get_ipython().run_cell_magic('rlm_reply', magic_line, body.replace('a = 1', 'a = 5'))",
            "answer",
            "magic(f'resume {run} --turn 7 --edit')",
            allow_errors=True,
        )

    assert "%%rlm_reply r-" in str(book.cells[5].outputs)
    assert "a = 1" in str(book.cells[5].outputs)
    assert "-o answer --max-tokens-in 90000" in str(book.cells[5].outputs)
    assert shown(book.cells[7]) == "5"
    assert "no reply of turn 7; there are: 1, 2" in error_of(book.cells[8])


def test_help_names_every_command_in_one_line_each(notebook: Run) -> None:
    with ScriptedServer(["x"]) as server:
        book = notebook(server, "%rlm help", "%rlm nonsense", allow_errors=True)
    lines = book.cells[1].outputs[0].text.splitlines()
    names = error_of(book.cells[2]).split("There are: ")[1].strip().rstrip(".").split(", ")

    assert lines[0].startswith("`%%rlm [NAME …]")
    assert lines[1].startswith("`%%rlm_batch VALUES")
    assert [line.split()[1].strip("`:") for line in lines[2:]] == names
    assert set(names) >= {"tell", "allow", "step", "resume", "replay", "export"}


def test_a_detached_run_that_is_slow_is_shown_and_cancelled(notebook: Run) -> None:
    with ScriptedServer([Reply("word " * 1000, token_delay=0.05)]) as server:
        book = notebook(
            server, NOTES, RLM, "%%rlm notes --detach\nWhat?", "run = newest()\nmagic(f'cancel {run}')", "%rlm show"
        )

    assert bundle_of(book.cells[3])[MIME_TYPE]["state"] in ("starting", "running")
    assert bundle_of(book.cells[5])[MIME_TYPE]["state"] == "cancelled"
